"""Self-critical sequence training: the captioner writes captions of its own, and those that score above average count.

The gradient is REINFORCE with a reward of CIDEr-D (Rennie et al., 2017, arXiv:1612.00563). Several captions of a
picture are drawn, and each is compared with the mean of the others (Luo, 2020, arXiv:2003.09971), which is a better
baseline than the greedy caption and costs no second pass. All are drawn alike, dropout included where there is any, so
that each is an unbiased baseline of the others.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from imgcap.data.loading import END, CaptionCollator, clean_caption
from imgcap.evaluation.cider import CiderD
from imgcap.inference.sampling import Samples, sample
from imgcap.model import ImgcapForImageCaptioning


def others_mean(rewards: Tensor) -> Tensor:
    """(B, K) rewards -> (B, K): for each caption of a picture the mean of the K - 1 others."""
    return (rewards.sum(1, keepdim=True) - rewards) / (rewards.size(1) - 1)


class SelfCriticalLoss:
    """The loss of one batch; `reward` and `ended` hold what it saw, for the log."""

    def __init__(
        self,
        references: Sequence[Sequence[str]],
        tokenizer: PreTrainedTokenizerFast,
        captions: int = 5,
        max_words: int = 23,
        temperature: float = 1.0,
    ) -> None:
        """Take the document frequencies from the training split.

        Args:
            references: raw captions of every training picture.
            tokenizer: names the model's ids.
            captions: how many are drawn of each picture, at least 2, since each is compared with the others.
            max_words: tokens of the longest caption drawn, the end token among them.
            temperature: of the draw. Label smoothing leaves a tenth of the probability to words that fit nowhere;
                below 1 they are hardly drawn.
        """
        self.cider = CiderD(_words(row) for row in references)
        self.vocabulary = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self.end = tokenizer.eos_token_id
        self.captions = captions
        self.max_words = max_words
        self.temperature = temperature
        self.reward = self.ended = 0.0

    def __call__(self, model: ImgcapForImageCaptioning, references: Sequence[Sequence[str]], **picture: Any) -> Tensor:
        """Minus the mean over tokens of advantage times log-probability.

        Args:
            model: in the mode in which it shall draw.
            references: raw captions of each of the B pictures.
            picture: what `forward` takes for them, pixel_values or encoder_outputs.
        """
        grid = picture["encoder_outputs"][0] if "encoder_outputs" in picture else model.encoder(**picture)[0]
        samples = sample(model, grid, self.captions, max_words=self.max_words, temperature=self.temperature)
        rewards = self.rewards(samples, references)
        advantage = (rewards - others_mean(rewards)).view(-1, 1)
        self.reward = float(rewards.mean())
        self.ended = float((samples.ids == self.end).any(1).float().mean())
        return -(advantage * samples.log_probabilities).sum() / samples.counted.sum()

    def rewards(self, samples: Samples, references: Sequence[Sequence[str]]) -> Tensor:
        """(B, captions) float32: CIDEr-D of every sample against all references of its picture.

        The end token counts as a word of both, as a caption that stops halfway ("a man in a") must not score like one
        that ends there.
        """
        drawn = [
            [self.vocabulary[i] for i, counts in zip(ids, row, strict=True) if counts]
            for ids, row in zip(samples.ids.tolist(), samples.counted.tolist(), strict=True)
        ]
        scores = [
            self.cider.score(drawn[self.captions * i : self.captions * (i + 1)], _words(row))
            for i, row in enumerate(references)
        ]
        return torch.from_numpy(np.stack(scores)).to(samples.ids.device, torch.float32)


def _words(captions: Sequence[str]) -> list[list[str]]:
    return [[*clean_caption(text).split(), END] for text in captions]


class PictureCollator(CaptionCollator):
    """Rows of the data set -> pictures (or cached grids) and their raw captions."""

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """What `SelfCriticalLoss` takes."""
        return self.pictures(rows) | {"references": [row["captions"] for row in rows]}
