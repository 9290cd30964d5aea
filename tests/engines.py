"""Tiny captioners of every kind, and the engines that run them."""

import numpy as np
import torch

from imgcap.inference.decoding.scoring import score
from imgcap.inference.engines.torch_engine import TorchEngine
from imgcap.model import ImgcapConfig, ImgcapForImageCaptioning

SIDE = 64


def make_model(decoder: str = "attention", encoder: str = "resnet18", vocab_size: int = 12, **fields: object):
    """A model with random weights, in evaluation mode, that prefers some words and often ends a caption."""
    torch.manual_seed(0)
    options = {"hidden_size": 16, "num_attention_heads": 2, "image_size": SIDE, "tie_word_embeddings": False} | fields
    config = ImgcapConfig(decoder=decoder, encoder=encoder, vocab_size=vocab_size, **options)
    model = ImgcapForImageCaptioning(config).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(6)
        model.lm_head.bias[model.config.eos_token_id] = 2.0
    return model


def make_pixels(pictures: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(pictures, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def as_grid(engine, array):
    """The array (B, P, C) as a grid of the engine."""
    return torch.from_numpy(array) if isinstance(engine, TorchEngine) else array


def mean_log_probabilities(engine, description, grid, captions):
    """Each caption's log-probability under the unaltered model, divided by its number of tokens, the end token too."""
    options = description.search
    tokens = [[(*ids, options.end) for ids in description.vocabulary.encode(texts)] for texts in captions]
    sums = score(engine, grid, tokens, options.start)
    return [total / np.array([len(row) for row in rows]) for total, rows in zip(sums, tokens, strict=True)]
