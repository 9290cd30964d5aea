"""Train a captioner on CIDEr-D: it samples captions, and those that score above average become more probable.

This is self-critical sequence training: the gradient is REINFORCE with CIDEr-D as the reward (Rennie et al., 2017,
arXiv:1612.00563), to which a share of BLEU-4 can be added. Several captions of an image are sampled, and each is
compared with the mean of the others (Luo, 2020, arXiv:2003.09971), which is a better baseline than the greedy caption
and needs no second pass. All are sampled in the same way, with the model's dropout, so that each is an unbiased
baseline for the others.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocoevalcap.bleu import bleu_scorer
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from imgcap.data.vocabulary import END, clean_caption
from imgcap.inference.judging.cider import CiderD
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
        bleu_weight: float = 0.0,
    ) -> None:
        """Compute the document frequencies of the training split.

        Args:
            references: raw captions of every training image.
            tokenizer: the model's tokenizer.
            num_captions: captions sampled per image, at least 2, since each is compared with the others.
            max_words: maximum number of tokens of a sampled caption, including the end token.
            temperature: temperature of sampling. Label smoothing gives a tenth of the probability to words that do not
                fit; below 1 they are hardly ever sampled.
            bleu_weight: factor of the caption's BLEU-4, 0-1, in the reward; 0 leaves only CIDEr-D.
        """
        self.cider = CiderD(_words(row) for row in references)
        self.vocabulary = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self.end = tokenizer.eos_token_id
        self.num_captions = num_captions
        self.max_words = max_words
        self.temperature = temperature
        self.bleu_weight = bleu_weight
        self.reward = self.ended = 0.0

    def __call__(self, model: ImgcapForImageCaptioning, references: Sequence[Sequence[str]], **image: Any) -> Tensor:
        """Return minus the mean over tokens of advantage times log-probability.

        Args:
            model: the model, in the mode in which it should sample.
            references: raw captions of each of the B images.
            image: the images as `forward` takes them, pixel_values or encoder_outputs.
        """
        grid = image["encoder_outputs"][0] if "encoder_outputs" in image else model.encoder(**image)[0]
        samples = sample(model, grid, self.num_captions, max_words=self.max_words, temperature=self.temperature)
        rewards = self.rewards(samples, references)
        advantage = (rewards - others_mean(rewards)).view(-1, 1)
        self.reward = float(rewards.mean())
        self.ended = float((samples.ids == self.end).any(1).float().mean())
        return -(advantage * samples.log_probabilities).sum() / samples.counted.sum()

    def rewards(self, samples: Samples, references: Sequence[Sequence[str]]) -> Tensor:
        """Return CIDEr-D plus weighted BLEU-4 of every sample against its image's references, (B, K) float32.

        The end token counts as a word on both sides, so that a caption that is cut off ("a man in a") does not score
        like a caption that ends there.
        """
        drawn = [
            [self.vocabulary[i] for i, counts in zip(ids, row, strict=True) if counts]
            for ids, row in zip(samples.ids.tolist(), samples.counted.tolist(), strict=True)
        ]
        scores = []
        for i, row in enumerate(references):
            captions, words = drawn[self.num_captions * i : self.num_captions * (i + 1)], _words(row)
            scores.append(self.cider.score(captions, words))
            if self.bleu_weight:
                scores[-1] = scores[-1] + self.bleu_weight * smoothed_bleu(captions, words)
        return torch.from_numpy(np.stack(scores)).to(samples.ids.device, torch.float32)


def smoothed_bleu(captions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """Return BLEU-4 of each single caption, 0-1, shape (captions,).

    A single caption rarely shares four words in a row with a reference, and its BLEU-4 would be 0. Therefore one is
    added to the matches and to the count of each order above the first (Lin and Och, 2004, "ORANGE", smoothing by one).

    Args:
        captions: words of each caption.
        references: words of each reference of the image that they describe.
    """
    cooked = bleu_scorer.cook_refs([" ".join(words) for words in references])
    counts = [bleu_scorer.cook_test(" ".join(words), cooked, eff="closest") for words in captions]
    matches = np.array([row["correct"] for row in counts], dtype=np.float64)
    guesses = np.array([row["guess"] for row in counts], dtype=np.float64)
    matches[:, 1:] += 1
    guesses[:, 1:] += 1
    lengths = np.array([[row["testlen"], row["reflen"]] for row in counts], dtype=np.float64).clip(min=1)
    means = np.prod(matches / guesses.clip(min=1), axis=1) ** (1 / matches.shape[1])
    return np.asarray(means * np.exp(np.minimum(0, 1 - lengths[:, 1] / lengths[:, 0])))


def _words(captions: Sequence[str]) -> list[list[str]]:
    return [[*clean_caption(text).split(), END] for text in captions]
