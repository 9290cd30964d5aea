"""Self-critical sequence training: the captioner writes captions of its own, and those that score above average count.

The gradient is REINFORCE with a reward of CIDEr-D (Rennie et al., 2017, arXiv:1612.00563). Several captions of a
picture are drawn, and each is compared with the mean of the others (Luo, 2020, arXiv:2003.09971), which is a better
baseline than the greedy caption and costs no second pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from imgcap.cider import CiderD
from imgcap.data import END, CaptionCollator, clean_caption
from imgcap.model import ImgcapForImageCaptioning


@dataclass(frozen=True)
class Samples:
    """Captions drawn from a model, those of a picture neighbours.

    ids: (N, T) int64; padding after the first end token.
    log_probabilities: (N, T) float32, of each token given those before it; carries the gradient.
    counted: (N, T) bool, the tokens that were chosen: all up to the first end token, it included.
    """

    ids: Tensor
    log_probabilities: Tensor
    counted: Tensor


def sample(
    model: ImgcapForImageCaptioning, captions: int, max_words: int, temperature: float = 1.0, **picture: Any
) -> Samples:
    """Draw `captions` captions of each picture, word by word, in whatever mode the model is in.

    Args:
        model: draws from its whole distribution, less the tokens that no caption may hold.
        captions: how many of each picture.
        max_words: a caption ends after so many tokens even without an end token.
        temperature: divides the logits; the log-probabilities are those of the distribution drawn from.
        picture: what `forward` takes for B pictures, pixel_values or encoder_outputs.
    """
    config = model.config
    if "encoder_outputs" not in picture:
        picture = {"encoder_outputs": model.encoder(**picture)}
    pictures = picture["encoder_outputs"][0]
    word = torch.full((len(pictures) * captions,), config.decoder_start_token_id, device=pictures.device)
    unfinished = torch.ones_like(word, dtype=torch.bool)
    never = [config.pad_token_id, config.bos_token_id, config.unk_token_id]
    state = None
    ids, chosen, counted = [], [], []
    for _ in range(max_words):
        step = model(decoder_input_ids=word[:, None], past_key_values=state, use_cache=True, **picture)
        state = step.past_key_values
        logits = step.logits[:, 0].float() / temperature
        logits[:, never] = -torch.inf
        logarithms = logits.log_softmax(-1)
        word = torch.multinomial(logarithms.detach().exp(), 1).squeeze(1).masked_fill(~unfinished, config.pad_token_id)
        ids.append(word)
        # A finished caption's padding has probability zero, whose logarithm would poison the sum.
        chosen.append(logarithms.gather(1, word[:, None]).squeeze(1).masked_fill(~unfinished, 0.0))
        counted.append(unfinished)
        unfinished = unfinished & (word != config.eos_token_id)
        if not unfinished.any():
            break
    return Samples(torch.stack(ids, 1), torch.stack(chosen, 1), torch.stack(counted, 1))


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
        """Minus the mean over tokens of advantage times log-probability, for B pictures and their raw references."""
        samples = sample(model, self.captions, self.max_words, self.temperature, **picture)
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
