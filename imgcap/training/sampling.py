"""Sample captions from the model word by word, with its own probabilities."""

from dataclasses import dataclass

import torch
from torch import Tensor

from imgcap.model import ImgcapForImageCaptioning


@dataclass(frozen=True)
class Samples:
    """Captions sampled from a model; those of an image are adjacent.

    ids: (N, T) int64, without the start token; padding after the first end token.
    log_probabilities: (N, T) float32, log-probability of each token in the distribution from which it was sampled;
        carries the gradient.
    counted: (N, T) bool, true for the sampled tokens: all up to and including the first end token.
    """

    ids: Tensor
    log_probabilities: Tensor
    counted: Tensor


def sample(
    model: ImgcapForImageCaptioning,
    grid: Tensor,
    captions: int,
    *,
    max_words: int,
    min_words: int = 0,
    temperature: float | Tensor = 1.0,
    generator: torch.Generator | None = None,
) -> Samples:
    """Return `captions` sampled captions of each image; the model stays in its present mode.

    Args:
        model: gives the distribution, without the tokens that no caption may contain.
        grid: (B, P, C), the encoder's output.
        captions: number of captions per image, N = captions * B in all.
        max_words: a caption ends after this many tokens even without an end token.
        min_words: number of tokens before a caption may end.
        temperature: divides the logits; one number, or (N, 1).
        generator: replaces the global generator, which `generate(do_sample=True)` does not allow.
    """
    config = model.config
    never = [config.pad_token_id, config.bos_token_id, config.unk_token_id]
    word = torch.full((len(grid) * captions,), config.decoder_start_token_id, device=grid.device)
    states = model.start(grid, captions)
    # Half of a batch's captions end well before the longest one; computing them further would double the cost.
    going = torch.arange(len(word), device=grid.device)
    ids: list[Tensor] = []
    chosen: list[Tensor] = []
    counted: list[Tensor] = []
    while len(going) and len(ids) < max_words:
        logits = model.read(word[going, None], states)[:, 0].float()
        logits = logits / (temperature[going] if isinstance(temperature, Tensor) else temperature)
        logits[:, never] = -torch.inf
        if len(ids) < min_words:
            logits[:, config.eos_token_id] = -torch.inf
        logarithms = logits.log_softmax(-1)
        drawn = torch.multinomial(logarithms.detach().exp(), 1, generator=generator)
        chosen.append(logarithms.new_zeros(len(word)).index_copy(0, going, logarithms.gather(1, drawn).squeeze(1)))
        word = torch.full_like(word, config.pad_token_id).index_copy(0, going, drawn.squeeze(1))
        ids.append(word)
        counted.append(torch.zeros_like(word, dtype=torch.bool).index_fill(0, going, True))
        on = (word[going] != config.eos_token_id).nonzero().squeeze(1)
        if len(on) < len(going):
            states.keep(on)
            going = going[on]
    return Samples(torch.stack(ids, 1), torch.stack(chosen, 1), torch.stack(counted, 1))
