"""CIDEr-D of single captions, fast: weigh a picture's references once and score many captions against them."""

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

_ORDER = 4


@dataclass(frozen=True, slots=True)
class PreparedReferences:
    """One picture's references as `CiderD.prepare` gives them: weigh them once, score against them often."""

    entries: dict[Gram, list[tuple[int, float, float]]]
    """For each n-gram: which references hold it, its TF-IDF weight there, and that over the reference's norm."""
    lengths: list[int]
    """Number of bigrams of each reference."""


class CiderD:
    """CIDEr-D (Vedantam, Zitnick and Parikh 2015, arXiv:1411.5726) of captions, one picture at a time.

    Equal to pycocoevalcap's CIDEr, which is CIDEr-D (clipped counts, a Gaussian penalty of the difference in length),
    when the document frequencies come from the same references. That package weighs all references anew at each call
    and takes its document frequencies from the pictures scored; here both are prepared once.
    """

    def __init__(self, references: Iterable[Iterable[Tokens]], *, sigma: float = 6.0) -> None:
        """Takes the document frequencies from a split's references.

        Args:
            references: tokenized references of each picture; a document is one picture's references together.
            sigma: standard deviation of the length penalty, in bigrams.

        Raises:
            InputError: there is no picture.
        """
        counts, documents = document_frequencies(references)
        if not documents:
            raise InputError("CIDEr needs the references of at least one picture for its document frequencies.")
        self._weigh(counts, documents, sigma)

    @classmethod
    def from_frequencies(cls, counts: Mapping[Gram, int], documents: int, *, sigma: float = 6.0) -> "CiderD":
        """The scorer whose document frequencies are already known.

        Args:
            counts: in how many documents each n-gram is. One that is absent counts as one, so that those of one
                document may be left out.
            documents: how many there are, at least 1.
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
        """The TF-IDF vectors of one picture's references.

        Raises:
            InputError: there is no reference.
        """
        if not references:
            raise InputError("A picture without references cannot be scored; give it at least one.")
        entries: dict[Gram, list[tuple[int, float, float]]] = {}
        lengths = []
        for index, reference in enumerate(references):
            weights, norms, length = self._vector(reference)
            lengths.append(length)
            for gram, weight in weights.items():
                if weight:
                    entries.setdefault(gram, []).append((index, weight, weight / norms[len(gram) - 1]))
        return PreparedReferences(entries, lengths)

    def score(
        self,
        candidates: Sequence[Tokens],
        references: PreparedReferences | Sequence[Tokens],
        weights: Sequence[float] | None = None,
    ) -> NDArray[np.float64]:
        """CIDEr-D of each candidate for one picture.

        Args:
            candidates: tokenized captions of the picture.
            references: the picture's tokenized references, or what `prepare` made of them.
            weights: of the references in the mean over them, summing to 1; None where all count alike.

        Returns:
            Scores from 0 to 10, shape (candidates,).

        Raises:
            InputError: there is no reference.
        """
        prepared = references if isinstance(references, PreparedReferences) else self.prepare(references)
        shares = [1 / len(prepared.lengths)] * len(prepared.lengths) if weights is None else weights
        return np.array([self._score(candidate, prepared, shares) for candidate in candidates])

    def _score(self, candidate: Tokens, references: PreparedReferences, shares: Sequence[float]) -> float:
        weights, norms, length = self._vector(candidate)
        products = [[0.0] * len(references.lengths) for _ in range(_ORDER)]
        for gram, weight in weights.items():
            row = products[len(gram) - 1]
            for index, reference, normed in references.entries.get(gram, ()):
                row[index] += min(weight, reference) * normed
        cosines = [sum(row[index] / norm for row, norm in zip(products, norms, strict=True) if norm)
                   for index in range(len(references.lengths))]  # fmt: skip
        penalties = [exp(-((length - other) ** 2) / (2 * self._sigma**2)) for other in references.lengths]
        similarity = sum(c * p * share for c, p, share in zip(cosines, penalties, shares, strict=True))
        return 10 * similarity / _ORDER

    def _vector(self, caption: Tokens) -> tuple[dict[Gram, float], list[float], int]:
        """A caption's TF-IDF weights by n-gram, their norm for each n, and the caption's number of bigrams."""
        squares = [0.0] * _ORDER
        weights = {}
        length = 0
        for gram, count in Counter(_ngrams(caption)).items():
            weight = weights[gram] = count * self._idf.get(gram, self._rarest)
            squares[len(gram) - 1] += weight * weight
            length += count * (len(gram) == 2)  # a bigram
        return weights, [sqrt(square) for square in squares], length


def document_frequencies(references: Iterable[Iterable[Tokens]]) -> tuple[Counter[Gram], int]:
    """In how many documents each n-gram is, and how many documents there are.

    Args:
        references: tokenized references of each picture; a document is one picture's references together.
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
