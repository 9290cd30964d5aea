"""Compute CIDEr-D of single captions fast: weigh an image's references once and score many captions against them."""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray

from imgcap.errors import InputError

Tokens = str | Sequence[Hashable]
"""A tokenized caption: tokens with spaces between them, or a sequence of tokens (words or their ids)."""

Gram = tuple[Hashable, ...]
"""An n-gram of a tokenized caption."""

Vector = tuple[dict[Gram, float], list[float], int]
"""A caption's TF-IDF weights by n-gram, their norm for each n, and the number of bigrams."""

_ORDER = 4


@dataclass(frozen=True, slots=True)
class PreparedReferences:
    """One image's references, weighed once by `CiderD.prepare` so that many captions can be scored against them."""

    entries: dict[Gram, list[tuple[int, float, float]]]
    """For each n-gram: the references that contain it, its TF-IDF weight in each, and that over their norms."""
    vectors: list[Vector]
    """The vector of each reference."""


@dataclass(frozen=True, slots=True)
class WeighedCaptions:
    """Captions weighed together by `CiderD.weigh_together`: c captions with g distinct n-grams."""

    grams: list[Gram]
    """The distinct n-grams."""
    weights: NDArray[np.float64]
    """(c, g): TF-IDF weights."""
    norms: NDArray[np.float64]
    """(c, g): the caption's norm for the length of the n-gram; infinite instead of 0."""
    lengths: NDArray[np.int64]
    """(c,): numbers of bigrams."""


class CiderD:
    """CIDEr-D (Vedantam, Zitnick and Parikh 2015, arXiv:1411.5726) of captions, one image at a time.

    With document frequencies from the same references it equals pycocoevalcap's CIDEr, which is CIDEr-D (clipped
    counts, a Gaussian penalty of the difference in length). That package weighs all references again at each call and
    takes its document frequencies from the scored images; this class prepares both once.
    """

    def __init__(self, references: Iterable[Iterable[Tokens]], *, sigma: float = 6.0) -> None:
        """Take the document frequencies from a split's references.

        Args:
            references: tokenized references of each image; a document is all references of one image.
            sigma: standard deviation of the length penalty, in bigrams.

        Raises:
            InputError: no image is given.
        """
        counts, documents = document_frequencies(references)
        if not documents:
            raise InputError("CIDEr needs the references of at least one picture for its document frequencies.")
        self._weigh(counts, documents, sigma)

    @classmethod
    def from_frequencies(cls, counts: Mapping[Gram, int], documents: int, *, sigma: float = 6.0) -> "CiderD":
        """Return a scorer with known document frequencies.

        Args:
            counts: in how many documents each n-gram occurs. An absent n-gram counts as one, so n-grams of a single
                document may be left out.
            documents: number of documents, at least 1.
            sigma: standard deviation of the length penalty, in bigrams.
        """
        scorer = cls.__new__(cls)
        scorer._weigh(counts, documents, sigma)
        return scorer

    def _weigh(self, counts: Mapping[Gram, int], documents: int, sigma: float) -> None:
        self._rarest = log(documents)
        self._idf = {gram: self._rarest - log(count) for gram, count in counts.items()}
        self._sigma = sigma

    def prepare(self, references: Sequence[Tokens]) -> PreparedReferences:
        """Return the TF-IDF vectors of one image's references.

        Raises:
            InputError: no reference is given.
        """
        if not references:
            raise InputError("A picture without references cannot be scored; give it at least one.")
        entries: dict[Gram, list[tuple[int, float, float]]] = {}
        vectors = [self.weigh(reference) for reference in references]
        for index, (weights, norms, _) in enumerate(vectors):
            for gram, weight in weights.items():
                if weight:
                    entries.setdefault(gram, []).append((index, weight, weight / norms[len(gram) - 1]))
        return PreparedReferences(entries, vectors)

    def score(
        self,
        candidates: Sequence[Tokens],
        references: PreparedReferences | Sequence[Tokens],
        weights: Sequence[float] | None = None,
    ) -> NDArray[np.float64]:
        """Return CIDEr-D of each candidate for one image.

        Args:
            candidates: tokenized captions of the image.
            references: the image's tokenized references, or the result of `prepare` for them.
            weights: weights of the references in the mean, which sum to 1; None for equal weights.

        Returns:
            Scores from 0 to 10, shape (candidates,).

        Raises:
            InputError: no reference is given.
        """
        prepared = references if isinstance(references, PreparedReferences) else self.prepare(references)
        count = len(prepared.vectors)
        shares = [1 / count] * count if weights is None else weights
        return np.array([self._score(self.weigh(candidate), prepared, shares) for candidate in candidates])

    def _score(self, candidate: Vector, references: PreparedReferences, shares: Sequence[float]) -> float:
        weights, norms, length = candidate
        lengths = [length for _, _, length in references.vectors]
        products = [[0.0] * len(lengths) for _ in range(_ORDER)]
        for gram, weight in weights.items():
            row = products[len(gram) - 1]
            for index, reference, normed in references.entries.get(gram, ()):
                row[index] += min(weight, reference) * normed
        cosines = [sum(row[index] / norm for row, norm in zip(products, norms, strict=True) if norm)
                   for index in range(len(lengths))]  # fmt: skip
        penalties = [exp(-((length - other) ** 2) / (2 * self._sigma**2)) for other in lengths]
        similarity = sum(c * p * share for c, p, share in zip(cosines, penalties, shares, strict=True))
        return 10 * similarity / _ORDER

    def compare(self, captions: WeighedCaptions) -> NDArray[np.float64]:
        """Return CIDEr-D of each caption with each as its only reference, (c, c)."""
        weights, shares = captions.weights, captions.weights / captions.norms
        products = np.einsum("crg,rg,cg->cr", np.minimum(weights[:, None], weights), shares, 1 / captions.norms)
        differences = captions.lengths[:, None] - captions.lengths
        return np.asarray(10 / _ORDER * products * np.exp(-(differences**2) / (2 * self._sigma**2)))

    def rarity(self, gram: Gram) -> float:
        """Return the inverse document frequency of an n-gram, a natural logarithm."""
        return self._idf.get(gram, self._rarest)

    def weigh(self, caption: Tokens) -> Vector:
        """Return the TF-IDF vector of a tokenized caption."""
        squares = [0.0] * _ORDER
        weights = {}
        length = 0
        for gram, count in Counter(_ngrams(caption)).items():
            weight = weights[gram] = count * self.rarity(gram)
            squares[len(gram) - 1] += weight * weight
            length += count * (len(gram) == 2)  # a bigram
        return weights, [sqrt(square) for square in squares], length

    def weigh_together(self, captions: Sequence[Tokens]) -> WeighedCaptions:
        """Return tokenized captions weighed for `compare`, which is faster than `score` for a few similar captions."""
        columns: dict[Gram, int] = {}
        places = [[columns.setdefault(gram, len(columns)) for gram in _ngrams(caption)] for caption in captions]
        shape = len(captions), len(columns)  # also of no captions
        counts = np.array([np.bincount(own, minlength=len(columns)) for own in places], int).reshape(shape)
        weights = counts * [self.rarity(gram) for gram in columns]
        sizes = np.array([len(gram) for gram in columns], int)
        norms = np.sqrt(weights**2 @ (sizes[:, None] == np.arange(_ORDER + 1)))
        norms[norms == 0] = np.inf
        return WeighedCaptions([*columns], weights, norms[:, sizes], counts[:, sizes == 2].sum(1))


def document_frequencies(references: Iterable[Iterable[Tokens]]) -> tuple[Counter[Gram], int]:
    """Return in how many documents each n-gram occurs, and the number of documents.

    Args:
        references: tokenized references of each image; a document is all references of one image.
    """
    counts: Counter[Gram] = Counter()
    documents = 0
    for captions in references:
        counts.update({gram for caption in captions for gram in _ngrams(caption)})
        documents += 1
    return counts, documents


def _ngrams(caption: Tokens) -> Iterator[Gram]:
    words: Sequence[Hashable] = caption.split() if isinstance(caption, str) else caption
    for n in range(_ORDER):
        yield from zip(*(words[start:] for start in range(n + 1)), strict=False)
