"""Other captions for a picture that do not just turn the same words around.

The beams of a beam search differ by a word or two. So many captions are drawn from the model itself, some boldly and
some timidly, by temperature: a model trained on the metric is so sure of itself that temperature 1 draws one sentence
again and again, one trained by cross-entropy says anything at temperature 2. What was drawn is then ranked by the
model's own unaltered probability, and the likeliest are taken that share few content words with those before them.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from imgcap.inference.confidence import mean_log_probabilities
from imgcap.inference.sampling import sample
from imgcap.inference.wording import content_words, well_formed
from imgcap.model import ImgcapForImageCaptioning, ImgcapProcessor
from imgcap.model.decoding import generation_options

TEMPERATURES = (0.5, 0.7, 1.0, 1.5)
SAMPLES = 24  # captions drawn a picture, equally many at each temperature
MOST_SHARED = 0.5  # of the content words of two captions together
LEAST_LIKELY = 0.8  # nats a token below the caption itself; further down bold draws stop making sense
SEED = 0


@torch.inference_mode()
def write_different(
    model: ImgcapForImageCaptioning, processor: ImgcapProcessor, grid: Tensor, length: str, count: int
) -> list[tuple[str, float]]:
    """The caption of a picture as the model's beam search writes it, then up to `count` others that differ.

    Args:
        model: in evaluation mode.
        processor: turns ids into sentences.
        grid: (1, P, C), the encoder's output.
        length: "short", "normal" or "long", as `generation_options` knows them.
        count: other captions at most.

    Returns:
        Captions as shown, each with its mean log-probability per token; behind the first, the likelier come first.
    """
    config, default = model.config, model.generation_config
    options = generation_options(length, default)
    beams = model.generate(encoder_outputs=BaseModelOutput(last_hidden_state=grid), **options)
    # A generator of its own, so that a picture always gets the same ones and other threads' draws stay as they are.
    drawn = sample(
        model, grid, SAMPLES,
        max_words=options.get("max_length", default.max_length) - 1, min_words=options.get("min_length", 1) - 1,
        temperature=torch.tensor(TEMPERATURES).repeat_interleave(SAMPLES // len(TEMPERATURES))[:, None],
        generator=torch.Generator().manual_seed(SEED),
    ).ids  # fmt: skip
    drawn = drawn[(drawn == config.eos_token_id).any(1)]  # those that came to an end
    texts = list(dict.fromkeys([*processor.sentences(beams), *processor.sentences(drawn)]))
    likely = dict(zip(texts, mean_log_probabilities(model, processor, grid, texts).tolist(), strict=True))
    penalty = options.get("length_penalty", default.length_penalty)
    penalty = 1.0 if penalty is None else penalty  # transformers' own default
    # The order of a beam search: the sum of the tokens' log-probabilities over their number to the power of `penalty`.
    order = {text: mean * (len(text.split()) + 1) ** (1 - penalty) for text, mean in likely.items()}
    caption, *others = texts
    others = [text for text in others if likely[text] >= likely[caption] - LEAST_LIKELY]
    chosen = choose(caption, sorted(others, key=order.__getitem__, reverse=True), count)
    return [(text, likely[text]) for text in (caption, *chosen)]


def overlap(first: str, second: str) -> float:
    """The share of two captions' content words that both have (Jaccard), 0-1."""
    one, other = content_words(first), content_words(second)
    return len(one & other) / len(one | other) if one | other else 1.0


def choose(caption: str, candidates: Iterable[str], count: int, most_shared: float = MOST_SHARED) -> list[str]:
    """Up to `count` candidates, in their order, that are well formed and differ from `caption` and from each other."""
    chosen = [caption]
    for candidate in candidates:
        if len(chosen) > count:
            break
        if well_formed(candidate) and all(overlap(candidate, other) <= most_shared for other in chosen):
            chosen.append(candidate)
    return chosen[1:]
