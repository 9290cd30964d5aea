"""Captions drawn from the model word by word, by its own probabilities."""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from imgcap.model import ImgcapForImageCaptioning


@dataclass(frozen=True)
class Samples:
    """Captions drawn from a model, those of a picture neighbours.

    ids: (N, T) int64, without the start token; padding after the first end token.
    log_probabilities: (N, T) float32, of each token given those before it in the distribution that it was drawn from;
        carries the gradient.
    counted: (N, T) bool, the tokens that were chosen: all up to the first end token, it included.
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
    """Draw `captions` captions of each picture, in whatever mode the model is in.

    Args:
        model: draws from its whole distribution, less the tokens that no caption may hold.
        grid: (B, P, C), the encoder's output.
        captions: how many of each picture, N = captions * B in all.
        max_words: a caption ends after so many tokens even without an end token.
        min_words: tokens before a caption may end.
        temperature: divides the logits; one for all, or (N, 1).
        generator: draws in place of the global one, which `generate(do_sample=True)` cannot do.
    """
    config = model.config
    never = [config.pad_token_id, config.bos_token_id, config.unk_token_id]
    word = torch.full((len(grid) * captions,), config.decoder_start_token_id, device=grid.device)
    unfinished = torch.ones_like(word, dtype=torch.bool)
    state = None
    ids: list[Tensor] = []
    chosen: list[Tensor] = []
    counted: list[Tensor] = []
    while unfinished.any() and len(ids) < max_words:
        step = model(
            encoder_outputs=BaseModelOutput(last_hidden_state=grid),
            decoder_input_ids=word[:, None], past_key_values=state, use_cache=True,
        )  # fmt: skip
        state = step.past_key_values
        logits = step.logits[:, 0].float() / temperature
        logits[:, never] = -torch.inf
        if len(ids) < min_words:
            logits[:, config.eos_token_id] = -torch.inf
        logarithms = logits.log_softmax(-1)
        drawn = torch.multinomial(logarithms.detach().exp(), 1, generator=generator)
        # A finished caption's padding has probability zero, whose logarithm would poison a sum.
        chosen.append(logarithms.gather(1, drawn).squeeze(1).masked_fill(~unfinished, 0.0))
        word = drawn.squeeze(1).masked_fill(~unfinished, config.pad_token_id)
        ids.append(word)
        counted.append(unfinished)
        unfinished = unfinished & (word != config.eos_token_id)
    return Samples(torch.stack(ids, 1), torch.stack(chosen, 1), torch.stack(counted, 1))
