"""Choose alternative captions for an image that differ in content and not only in wording.

The beams of a beam search differ by a word or two, so alternatives are sampled from the model at several temperatures:
a model trained on the metric is so certain that temperature 1 samples one sentence again and again, while a model
trained by cross-entropy writes nonsense at temperature 2. The samples are then ranked by the model's own probability
without temperature, and the most probable ones are taken that share few content words with those already taken.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from imgcap.inference.decoding.wording import content_words, well_formed

TEMPERATURES = (0.5, 0.7, 1.0, 1.5)
SAMPLES = 24  # captions drawn per image, equally many at each temperature
MOST_SHARED = 0.5  # of the content words of two captions together
LEAST_LIKELY = 0.8  # nats per token below the caption itself; less likely samples stop making sense
SEED = 0


@dataclass(frozen=True)
class Candidate:
    """A caption that may be shown.

    text: the sentence.
    log_probability: mean per token, including the end token.
    expected_cider: CIDEr-D that the n-grams predicted from the image let expect; None without a prediction.
    """

    text: str
    log_probability: float
    expected_cider: float | None = None


def choose_different(candidates: Sequence[Candidate], count: int, length_penalty: float) -> list[Candidate]:
    """Choose alternatives to a caption.

    Args:
        candidates: the caption itself, then others in any order; of several with the same text, the first counts.
        count: maximum number of alternatives.
        length_penalty: that of the beam search that found the caption; alternatives are ranked in the same way.

    Returns:
        Candidates that are well formed and differ in content from the caption and each other, the most probable first.
    """
    unique: dict[str, Candidate] = {}
    for candidate in candidates:
        unique.setdefault(candidate.text, candidate)
    caption, *others = unique.values()

    def rank(candidate: Candidate) -> float:
        """Return the beam search score: the log-probability over the number of tokens to the power of the penalty."""
        return candidate.log_probability * float((len(candidate.text.split()) + 1) ** (1 - length_penalty))

    likely = [one.text for one in others if one.log_probability >= caption.log_probability - LEAST_LIKELY]
    chosen = choose(caption.text, sorted(likely, key=lambda text: rank(unique[text]), reverse=True), count)
    return [unique[text] for text in chosen]


def overlap(first: str, second: str) -> float:
    """Return the share of two captions' content words that both contain (Jaccard), 0-1."""
    one, other = content_words(first), content_words(second)
    return len(one & other) / len(one | other) if one | other else 1.0


def choose(caption: str, candidates: Iterable[str], count: int, most_shared: float = MOST_SHARED) -> list[str]:
    """Return up to `count` candidates, in order, that are well formed and differ from `caption` and each other."""
    chosen = [caption]
    for candidate in candidates:
        if len(chosen) > count:
            break
        if well_formed(candidate) and all(overlap(candidate, other) <= most_shared for other in chosen):
            chosen.append(candidate)
    return chosen[1:]
