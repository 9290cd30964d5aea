"""Train a captioner on CIDEr-D: it draws captions of its own, and those that score above average become likelier.

This is self-critical sequence training: the gradient is REINFORCE with CIDEr-D as the reward (Rennie et al., 2017,
arXiv:1612.00563). Several captions of an image are drawn, and each is compared with the mean of the others (Luo, 2020,
arXiv:2003.09971), which is a better baseline than the greedy caption and needs no second pass. All are drawn in the
same way, with dropout if there is any, so that each is an unbiased baseline for the others.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from imgcap.data.vocabulary import END, clean_caption
from imgcap.inference.cider import CiderD
from imgcap.model import ImgcapForImageCaptioning
from imgcap.training.sampling import Samples, sample


def others_mean(rewards: Tensor) -> Tensor:
    """Return for each of the (B, K) rewards of B images the mean of the K - 1 others, (B, K)."""
    return (rewards.sum(1, keepdim=True) - rewards) / (rewards.size(1) - 1)


class SelfCriticalLoss:
    """Compute the loss of a batch; `reward` and `ended` hold the mean reward and the share of ended captions."""

    def __init__(
        self,
        references: Sequence[Sequence[str]],
        tokenizer: PreTrainedTokenizerFast,
        num_captions: int = 5,
        max_words: int = 23,
        temperature: float = 1.0,
    ) -> None:
        """Compute the document frequencies of the training split.

        Args:
            references: raw captions of every training image.
            tokenizer: of the model.
            num_captions: captions drawn of each image, at least 2, since each is compared with the others.
            max_words: tokens of the longest caption drawn, the end token among them.
            temperature: of drawing. Label smoothing gives a tenth of the probability to words that do not fit; below 1
                they are hardly ever drawn.
        """
        self.cider = CiderD(_words(row) for row in references)
        self.vocabulary = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self.end = tokenizer.eos_token_id
        self.num_captions = num_captions
        self.max_words = max_words
        self.temperature = temperature
        self.reward = self.ended = 0.0

    def __call__(self, model: ImgcapForImageCaptioning, references: Sequence[Sequence[str]], **image: Any) -> Tensor:
        """Return minus the mean over tokens of advantage times log-probability.

        Args:
            model: in the mode in which it is to draw.
            references: raw captions of each of the B images.
            image: what `forward` takes for the images, pixel_values or encoder_outputs.
        """
        grid = image["encoder_outputs"][0] if "encoder_outputs" in image else model.encoder(**image)[0]
        samples = sample(model, grid, self.num_captions, max_words=self.max_words, temperature=self.temperature)
        rewards = self.rewards(samples, references)
        advantage = (rewards - others_mean(rewards)).view(-1, 1)
        self.reward = float(rewards.mean())
        self.ended = float((samples.ids == self.end).any(1).float().mean())
        return -(advantage * samples.log_probabilities).sum() / samples.counted.sum()

    def rewards(self, samples: Samples, references: Sequence[Sequence[str]]) -> Tensor:
        """Return CIDEr-D of every sample against all references of its image, (B, num_captions) float32.

        The end token counts as a word on both sides, since a caption that breaks off ("a man in a") must not score like
        one that ends there.
        """
        drawn = [
            [self.vocabulary[i] for i, counts in zip(ids, row, strict=True) if counts]
            for ids, row in zip(samples.ids.tolist(), samples.counted.tolist(), strict=True)
        ]
        scores = [
            self.cider.score(drawn[self.num_captions * i : self.num_captions * (i + 1)], _words(row))
            for i, row in enumerate(references)
        ]
        return torch.from_numpy(np.stack(scores)).to(samples.ids.device, torch.float32)


def _words(captions: Sequence[str]) -> list[list[str]]:
    return [[*clean_caption(text).split(), END] for text in captions]
