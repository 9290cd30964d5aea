"""Predict from an image's features which n-grams people's captions of it contain, to search for better captions.

Captions of similar training images say what an image is likely to show (Devlin et al., 2015, arXiv:1505.04467). Kernel
ridge regression with a Gaussian kernel turns this into a prediction: from the encoder's pooled feature maps to the mean
TF-IDF vector of an image's references, as CIDEr-D weighs them. The predicted words and pairs of words steer the beam
search, as detected words do for Fang et al. (2015, arXiv:1411.4952), and the predicted n-grams help to choose among its
captions. `imgcap.evaluation.ngrams` fits the prediction, and `benchmarks/consensus.py` measures the gain.

Shapes: B images, F numbers of `Features` in all, K projected features, N training images, R latent directions,
G n-grams, V words.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgcap.inference.decoding.search import Bonus
from imgcap.inference.engines.engine import Features
from imgcap.inference.judging.cider import Gram, WeighedCaptions
from imgcap.inference.judging.fitted import pack_ngrams, read_fitted, unpack_ngrams, write_fitted

FILE = "expected_ngrams.safetensors"
STEERING = 6.0
"""Factor of the bonus of words and pairs in the beam search, chosen on Flickr8k's validation split."""
MORE_BEAMS = 2
"""A search with a prediction has so many times as many beams, since it can find good captions among more candidates."""
_ORDER = 4


@dataclass(frozen=True)
class RoundedRows:
    """A matrix of which each row is stored as int8, (n, m), times a scale, (n, 1)."""

    whole: NDArray[np.int8]
    scales: NDArray[np.float32]

    @classmethod
    def round(cls, values: NDArray[np.floating]) -> "RoundedRows":
        """Return the rounded matrix of values (n, m)."""
        largest = np.abs(values).max(1, keepdims=True)
        scales = (np.maximum(largest, np.finfo(np.float32).tiny * 127) / 127).astype(np.float32)
        return cls(np.round(values / scales).astype(np.int8), scales)

    @property
    def values(self) -> NDArray[np.float32]:
        """The matrix (n, m), computed anew."""
        return self.whole * self.scales


@dataclass(frozen=True)
class Projection:
    """Maps the features of images to points (B, K) of length 1, of which those of similar images are near.

    mean: (F,) mean of the features.
    spreads: (F,) by which centred features are divided.
    components: (K, F) scaled principal components.
    """

    mean: NDArray[np.float32]
    spreads: NDArray[np.float32]
    components: NDArray[np.float32]

    def project(self, features: Features) -> NDArray[np.float32]:
        """Return the points of images."""
        # A large matrix stands on the left where the sums run along its long side (also `dual`), and on the right, with
        # its long side contiguous, where they run along its short one (`landmarks`, `_columns`): the other way OpenBLAS
        # takes 1.5 to 2 times as long for a few images.
        points = (self.components @ ((join(features) - self.mean) / self.spreads).T).T
        lengths = np.linalg.norm(points, axis=1, keepdims=True)
        return np.asarray(points / np.maximum(lengths, np.finfo(np.float32).tiny))


@dataclass(frozen=True)
class NGramPredictor:
    """Predicts expected TF-IDF weights of n-grams.

    projection: of features to points.
    landmarks: (N, K) points of the training images.
    sharpness: factor of the squared distance of points in the Gaussian kernel.
    dual: (R, N) coefficients of the landmarks.
    directions: (R, G), the latent directions in the space of n-grams.
    base: (G,) mean weights over the training images.
    rarities: (G,) inverse document frequencies in the training captions.
    grams: ids of the n-grams' words, in the order of the columns: sorted, shorter ones first.
    steering: factor of the bonus in the beam search.
    """

    projection: Projection
    landmarks: NDArray[np.float32]
    sharpness: float
    dual: NDArray[np.float32]
    directions: RoundedRows
    base: NDArray[np.float32]
    rarities: NDArray[np.float32]
    grams: list[tuple[int, ...]]
    steering: float = STEERING

    def encode(self, features: Features) -> NDArray[np.float32]:
        """Return latent codes (B, R) of images.

        The further an image is from all training images, the nearer its prediction is to their mean.
        """
        kernel = gaussian(self.projection.project(features), self.landmarks, self.sharpness)
        return np.asarray((self.dual @ kernel.T).T * self.directions.scales.ravel())

    def bonus(self, codes: NDArray[np.float32], words: int) -> Bonus:
        """Return what the beam search adds to the log-probabilities of V words, from codes (B, R).

        Words and pairs that the image makes likelier than usual have a positive bonus, others a negative one. Words in
        every caption and the end token have none.
        """
        of_words, of_pairs = (codes @ columns for columns in self._columns)
        every_word = np.zeros((len(codes), words), np.float32)
        every_word[:, self._words] = of_words
        return Bonus(every_word, of_pairs, self._pairs[:, 0] * words + self._pairs[:, 1])

    def expected_cider(self, code: NDArray[np.float32], candidates: WeighedCaptions) -> NDArray[np.float64]:
        """Return the expected CIDEr-D of an image's candidates, about 0-10, without its length penalty and clipping.

        Args:
            code: (R,) of the image.
            candidates: captions without start and end token, weighed by a scorer with the training captions' document
                frequencies.
        """
        known = [place for place, gram in enumerate(candidates.grams) if gram in self._places]
        columns = [self._places[candidates.grams[place]] for place in known]
        expected = self.directions.whole.T[columns] @ code + self.base[columns]
        shares = candidates.weights[:, known] / candidates.norms[:, known]
        return np.asarray(10 / _ORDER * (shares @ expected))

    @cached_property
    def _places(self) -> dict[Gram, int]:
        return {gram: place for place, gram in enumerate(self.grams)}

    @cached_property
    def _words(self) -> NDArray[np.int64]:
        """The ids of all single words, (words,)."""
        return np.array([gram[0] for gram in self.grams if len(gram) == 1], np.int64)

    @cached_property
    def _pairs(self) -> NDArray[np.int64]:
        """The ids of the words of all pairs, (pairs, 2), sorted."""
        return np.array([gram for gram in self.grams if len(gram) == 2], np.int64).reshape(-1, 2)

    @cached_property
    def _columns(self) -> list[NDArray[np.float32]]:
        """The directions' columns of single words and of pairs, (R, n) each, times what a search adds for each."""
        weighed = []
        for size in (1, 2):
            places = [place for place, gram in enumerate(self.grams) if len(gram) == size]
            factors = self.steering * self.rarities[places, None]
            weighed.append(np.ascontiguousarray((factors * self.directions.whole.T[places]).T))
        return weighed


def gaussian(points: NDArray[np.float32], landmarks: NDArray[np.float32], sharpness: float) -> NDArray[np.float32]:
    """Return the Gaussian kernel (B, N) of points (B, K) and landmarks (N, K), both of length 1."""
    return np.asarray(np.exp(-sharpness * (2 - 2 * points @ landmarks.T)))


def join(features: Features) -> NDArray[np.float32]:
    """Return all features of each image side by side, (B, F)."""
    return np.concatenate(features.maps, 1)


def save_predictor(folder: Path, predictor: NGramPredictor) -> None:
    """Write a predictor into a captioner's folder, rounded: 14 MB for ResNet50, Flickr8k and 2540 words."""
    matrices = {
        "components": predictor.projection.components, "landmarks": predictor.landmarks, "dual": predictor.dual,
    }  # fmt: skip
    rounded = {name: RoundedRows.round(matrix) for name, matrix in matrices.items()}
    rounded["directions"] = predictor.directions
    tensors: dict[str, NDArray[Any]] = {
        "mean": predictor.projection.mean,
        "spreads": predictor.projection.spreads,
        "sharpness": np.array([predictor.sharpness]),
        "base": predictor.base,
        "rarities": predictor.rarities,
    }
    for name, rows in rounded.items():
        tensors |= {name: rows.whole, f"{name}_scales": rows.scales}
    write_fitted(folder / FILE, tensors | pack_ngrams(predictor.grams))


def load_predictor(folder: Path) -> NGramPredictor | None:
    """Return the predictor in a captioner's folder; None if it has none.

    Raises:
        InputError: the file is damaged.
    """
    return read_fitted(folder / FILE, _read_predictor)


def _read_predictor(file: Any) -> NGramPredictor:
    read = file.get_tensor
    [sharpness] = read("sharpness").tolist()
    directions = _read_rows(file, "directions")
    return NGramPredictor(
        projection=Projection(read("mean"), read("spreads"), _read_rows(file, "components").values),
        landmarks=np.asfortranarray(_read_rows(file, "landmarks").values),  # see `Projection.project`
        sharpness=sharpness,
        dual=_read_rows(file, "dual").values,
        directions=RoundedRows(np.asfortranarray(directions.whole), directions.scales),  # columns are looked up
        base=read("base"),
        rarities=read("rarities"),
        grams=unpack_ngrams(file),
    )


def _read_rows(file: Any, name: str) -> RoundedRows:
    return RoundedRows(file.get_tensor(name), file.get_tensor(f"{name}_scales"))
