"""Predict from an image's features which n-grams people's captions of it contain, to search for better captions.

Captions of similar training images say what an image is likely to show (Devlin et al., 2015, arXiv:1505.04467). Kernel
ridge regression with a Gaussian kernel turns this into a prediction: from the encoder's pooled features to the mean
TF-IDF vector of an image's references, as CIDEr-D weighs them. The predicted words steer the beam search, as detected
words do for Fang et al. (2015, arXiv:1411.4952), and the predicted n-grams help to choose among its captions.
`imgcap.evaluation.ngrams` fits the prediction, and `benchmarks/consensus.py` measures the gain.

Shapes: B images, C encoder channels, K projected features, N training images, R latent directions, G n-grams, V words.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgcap.inference.cider import Gram, WeighedCaptions
from imgcap.inference.fitted import pack_ngrams, read_fitted, unpack_ngrams, write_fitted

FILE = "expected_ngrams.safetensors"
WORD_WEIGHT = 4.0
"""Factor of the bonus of words in the beam search, chosen on Flickr8k's validation split."""
MORE_BEAMS = 2
"""A search with a prediction has so many times as many beams, since it can find good captions among more candidates."""
_ORDER = 4


@dataclass(frozen=True)
class NGramPredictor:
    """Predicts expected TF-IDF weights of n-grams.

    mean: (C,) mean of the pooled features.
    projection: (K, C), from centred features to scaled principal components.
    landmarks: (N, K) projected features of the training images, each of length 1.
    sharpness: factor of the squared distance in the Gaussian kernel.
    dual: (R, N) coefficients of the landmarks.
    directions: (R, G) int8; times `scales` (R, 1), the latent directions in the space of n-grams.
    base: (G,) mean weights over the training images.
    rarities: (G,) inverse document frequencies in the training captions.
    grams: ids of the n-grams' words, in the order of the columns.
    word_weight: factor of the bonus of words in the beam search.
    """

    mean: NDArray[np.float32]
    projection: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    sharpness: float
    dual: NDArray[np.float32]
    directions: NDArray[np.int8]
    scales: NDArray[np.float32]
    base: NDArray[np.float32]
    rarities: NDArray[np.float32]
    grams: list[tuple[int, ...]]
    word_weight: float = WORD_WEIGHT

    def encode(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return latent codes (B, R) of images from their pooled features (B, C).

        The further an image is from all training images, the nearer its prediction is to their mean.
        """
        products = project(features, self.mean, self.projection) @ self.landmarks.T
        kernel = np.exp(-self.sharpness * (2 - 2 * products))  # both have length 1
        return np.asarray(kernel @ self.dual.T * self.scales.ravel())

    def word_bonus(self, codes: NDArray[np.float32], words: int) -> NDArray[np.float32]:
        """Return what is added to the log-probability of each word, (B, V), from codes (B, R).

        Words that the image makes likelier than usual have a positive bonus, others a negative one. Words in every
        caption and the end token have none.
        """
        columns, ids, rarities = self._words
        bonus = np.zeros((len(codes), words), np.float32)
        bonus[:, ids] = self.word_weight * rarities * (codes @ columns.T)
        return bonus

    def expected_cider(self, code: NDArray[np.float32], candidates: WeighedCaptions) -> NDArray[np.float64]:
        """Return the expected CIDEr-D of an image's candidates, about 0-10, without its length penalty and clipping.

        Args:
            code: (R,) of the image.
            candidates: captions without start and end token, weighed by a scorer with the training captions' document
                frequencies.
        """
        known = [place for place, gram in enumerate(candidates.grams) if gram in self._places]
        columns = [self._places[candidates.grams[place]] for place in known]
        expected = code @ self.directions[:, columns] + self.base[columns]
        shares = candidates.weights[:, known] / candidates.norms[:, known]
        return np.asarray(10 / _ORDER * (shares @ expected))

    @cached_property
    def _places(self) -> dict[Gram, int]:
        return {gram: place for place, gram in enumerate(self.grams)}

    @cached_property
    def _words(self) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        """The directions' columns of single words (W, R), and the ids and rarities of these words, (W,) each."""
        places = [place for place, gram in enumerate(self.grams) if len(gram) == 1]
        ids = np.array([self.grams[place][0] for place in places], np.int64)
        return self.directions.T[places].astype(np.float32), ids, self.rarities[places]


def project(
    features: NDArray[np.float32], mean: NDArray[np.float32], projection: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return projected features (B, K) of length 1."""
    projected = (features - mean) @ projection.T
    lengths = np.linalg.norm(projected, axis=1, keepdims=True)
    return np.asarray(projected / np.maximum(lengths, np.finfo(np.float32).tiny))


def save_predictor(folder: Path, predictor: NGramPredictor) -> None:
    """Write a predictor into a captioner's folder: 12 MB for ResNet50, Flickr8k and 2540 words."""
    tensors: dict[str, NDArray[Any]] = {
        "mean": predictor.mean,
        "projection": predictor.projection.astype(np.float16),
        "landmarks": predictor.landmarks.astype(np.float16),
        "sharpness": np.array([predictor.sharpness]),
        "dual": predictor.dual.astype(np.float16),
        "directions": predictor.directions,
        "scales": predictor.scales,
        "base": predictor.base,
        "rarities": predictor.rarities,
    }
    write_fitted(folder / FILE, tensors | pack_ngrams(predictor.grams))


def load_predictor(folder: Path) -> NGramPredictor | None:
    """Return the predictor in a captioner's folder; None if it has none.

    Raises:
        InputError: the file is damaged.
    """
    return read_fitted(folder / FILE, _read_predictor)


def _read_predictor(file: Any) -> NGramPredictor:
    halves = {name: file.get_tensor(name).astype(np.float32) for name in ("projection", "landmarks", "dual")}
    [sharpness] = file.get_tensor("sharpness").tolist()
    return NGramPredictor(
        mean=file.get_tensor("mean"),
        **halves,
        sharpness=sharpness,
        directions=file.get_tensor("directions"),
        scales=file.get_tensor("scales"),
        base=file.get_tensor("base"),
        rarities=file.get_tensor("rarities"),
        grams=unpack_ngrams(file),
    )
