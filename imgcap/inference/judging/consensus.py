"""Choose the caption that agrees most with the others: minimum Bayes risk decoding (Kumar and Byrne, 2004, NAACL).

The most probable caption of a beam search is not always the best one. Every candidate is compared with all candidates
by CIDEr-D, weighted by their probabilities (Bertsch et al., 2023, arXiv:2310.01387), and the candidate with the highest
sum of expected CIDEr-D and weighted log-probability is taken. If the captioner can predict n-grams from the image
(`expected_ngrams`), the CIDEr-D expected from these is added with a large weight. Document frequencies
come from the training captions and are stored beside the model's weights. `benchmarks/consensus.py` measures the gain.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from imgcap.errors import InputError
from imgcap.inference.judging.cider import CiderD, Gram, WeighedCaptions, document_frequencies
from imgcap.inference.judging.fitted import pack_ngrams, read_fitted, unpack_ngrams, write_fitted

FILE = "document_frequencies.safetensors"
SHARPNESS = 6.0
"""How much a caption's probability counts: its weight is exp(SHARPNESS * mean log-probability per token)."""
SCORE_WEIGHT = 8.0
"""Weight of the score, a log-probability, which is added to the expected CIDEr-D."""
NGRAM_WEIGHT = 48.0
"""Weight of the CIDEr-D that the predicted n-grams let expect: it has seen the image, the candidates have not."""
_LIMIT = 2**16  # ids and counts are stored in 16 bits


def expected_cider(
    scorer: CiderD,
    candidates: WeighedCaptions,
    log_probabilities: Sequence[float],
    sharpness: float = SHARPNESS,
) -> NDArray[np.float64]:
    """Return how well each candidate agrees with all of them, 0-10.

    Args:
        scorer: a scorer with the training captions' document frequencies.
        candidates: one image's captions, weighed by `scorer` without start and end token; all different.
        log_probabilities: each candidate's log-probability divided by its number of tokens.
        sharpness: 0 gives every candidate the same weight.
    """
    weights = np.exp(sharpness * (np.asarray(log_probabilities) - max(log_probabilities)))
    return np.asarray(scorer.compare(candidates) @ (weights / weights.sum()))


def choose(
    scorer: CiderD,
    candidates: WeighedCaptions,
    log_probabilities: Sequence[float],
    scores: Sequence[float],
    sharpness: float = SHARPNESS,
    weight: float = SCORE_WEIGHT,
    by_ngrams: NDArray[np.float64] | None = None,
) -> int:
    """Return the index of the candidate to show.

    Args:
        scorer: as for `expected_cider`.
        candidates: as for `expected_cider`; at least one.
        log_probabilities: as for `expected_cider`.
        scores: each candidate's log-probability, divided by its number of tokens to the power of the search's
            length penalty.
        sharpness: as for `expected_cider`.
        weight: weight of the scores, which are added to the expected CIDEr-D.
        by_ngrams: CIDEr-D of each candidate that predicted n-grams let expect; None without a prediction.
    """
    expected = expected_cider(scorer, candidates, log_probabilities, sharpness)
    if by_ngrams is not None:
        expected = expected + NGRAM_WEIGHT * by_ngrams
    return int(np.argmax(expected + weight * np.asarray(scores)))


def save_frequencies(folder: Path, references: Iterable[Iterable[Sequence[int]]], unknown: int) -> None:
    """Write the document frequencies of training captions into a captioner's folder.

    N-grams of a single image are left out, since absent ones count as one. N-grams with the unknown word are left out
    too, because the captioner never writes it. For Flickr8k and 2540 words the file has 0.6 MB.

    Args:
        folder: folder of the captioner.
        references: ids of each training image's captions, without start and end token.
        unknown: id of the unknown word.

    Raises:
        InputError: no image is given, or the vocabulary or the data set is too large for the file.
    """
    counts, documents = document_frequencies(references)
    kept = cast(
        "dict[tuple[int, ...], int]",
        {gram: count for gram, count in counts.items() if count > 1 and unknown not in gram},
    )
    if not documents:
        raise InputError("Document frequencies need the captions of at least one picture.")
    if documents >= _LIMIT or any(max(gram) >= _LIMIT for gram in kept):
        raise InputError(f"Document frequencies can be stored for fewer than {_LIMIT} pictures and words.")
    tensors = pack_ngrams(kept) | {"counts": np.array([*kept.values()], np.uint16)}
    write_fitted(folder / FILE, tensors, {"documents": str(documents)})


def load_scorer(folder: Path) -> CiderD | None:
    """Return the CIDEr-D scorer with the document frequencies in a captioner's folder; None if it has none.

    Raises:
        InputError: the file is damaged.
    """
    return read_fitted(folder / FILE, _read_scorer)


def _read_scorer(file: Any) -> CiderD:
    counts: dict[Gram, int] = dict(zip(unpack_ngrams(file), file.get_tensor("counts").tolist(), strict=True))
    return CiderD.from_frequencies(counts, int(file.metadata()["documents"]))
