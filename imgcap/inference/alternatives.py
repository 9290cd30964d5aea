"""Other captions for a picture that do not just turn the same words around.

The beams of a beam search differ by a word or two. So many captions are drawn from the model itself, some boldly and
some timidly, by temperature: a model trained on the metric is so sure of itself that temperature 1 draws one sentence
again and again, one trained by cross-entropy says anything at temperature 2. What was drawn is then ranked by the
model's own unaltered probability, and the likeliest are taken that share few content words with those before them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from imgcap.inference.wording import content_words, well_formed

TEMPERATURES = (0.5, 0.7, 1.0, 1.5)
SAMPLES = 24  # captions drawn a picture, equally many at each temperature
MOST_SHARED = 0.5  # of the content words of two captions together
LEAST_LIKELY = 0.8  # nats a token below the caption itself; further down bold draws stop making sense
SEED = 0


@dataclass(frozen=True)
class Candidate:
    """A caption that may be shown: its text as shown, and its mean log-probability per token, the end among them."""

    text: str
    log_probability: float


def choose_different(candidates: Sequence[Candidate], count: int, length_penalty: float) -> list[Candidate]:
    """Choose alternatives to a caption.

    Args:
        candidates: the caption itself, then others in any order; of those with one text the first counts.
        count: alternatives at most.
        length_penalty: of the beam search that found the caption; alternatives are ranked as it ranks.

    Returns:
        Candidates that are well formed and differ in content from the caption and each other, the most probable first.
    """
    unique: dict[str, Candidate] = {}
    for candidate in candidates:
        unique.setdefault(candidate.text, candidate)
    caption, *others = unique.values()

    def rank(candidate: Candidate) -> float:
        """Rank as a beam search does: the log-probability over the number of tokens to the power of the penalty."""
        return candidate.log_probability * float((len(candidate.text.split()) + 1) ** (1 - length_penalty))

    likely = [one.text for one in others if one.log_probability >= caption.log_probability - LEAST_LIKELY]
    chosen = choose(caption.text, sorted(likely, key=lambda text: rank(unique[text]), reverse=True), count)
    return [unique[text] for text in chosen]


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
