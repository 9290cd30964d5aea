"""Fit the prediction of n-grams that a captioner keeps beside its weights (`imgcap.inference.expected_ngrams`)."""

from collections import Counter
from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve
from sklearn.decomposition import PCA
from sklearn.utils.extmath import randomized_svd

from imgcap.inference.cider import CiderD, Gram
from imgcap.inference.expected_ngrams import NGramPredictor, project

COMPONENTS = 256  # projected features
WHITENING = 0.25  # power of the standard deviations by which the components are divided; 1 would make all equal
WIDTH = 2.5  # of the kernel: squared distances are divided by their median over this
RIDGE = 0.03
DIRECTIONS = 256  # latent directions; fewer lose the rarer n-grams
MIN_IMAGES = 5  # images whose captions contain an n-gram, at least
MOST_IMAGES = 6000  # the kernel's matrix grows with the square


def fit_predictor(
    features: NDArray[np.float32], references: Sequence[Sequence[Sequence[int]]], scorer: CiderD, unknown: int
) -> NGramPredictor | None:
    """Return a predictor of n-grams from images with captions; None if no n-gram is in the captions of MIN_IMAGES.

    Args:
        features: (N, C) pooled features of training images.
        references: word ids of each image's captions, without start and end token.
        scorer: CIDEr-D scorer with the training captions' document frequencies.
        unknown: id of the unknown word.
    """
    weights = _mean_weights(references, scorer)
    counts = Counter(cast("tuple[int, ...]", gram) for row in weights for gram in row)
    kept = (gram for gram, images in counts.items() if images >= MIN_IMAGES and unknown not in gram)
    grams = sorted(kept, key=lambda gram: (len(gram), gram))
    if not grams or len(features) < 2:
        return None
    places: dict[Gram, int] = {gram: place for place, gram in enumerate(grams)}
    targets = np.zeros((len(weights), len(grams)), np.float32)
    for row, own in enumerate(weights):
        for gram, weight in own.items():
            if gram in places:
                targets[row, places[gram]] = weight
    rarities = np.array([scorer.rarity(gram) for gram in grams], np.float32)
    base = targets.mean(0)
    targets -= base
    _, _, directions = randomized_svd(targets, min(DIRECTIONS, *targets.shape), random_state=0)
    scales = np.abs(directions).max(1, keepdims=True) / np.iinfo(np.int8).max

    pca = PCA(min(COMPONENTS, len(features) - 1, features.shape[1]), svd_solver="covariance_eigh").fit(features)
    deviations = np.sqrt(np.maximum(pca.explained_variance_, np.finfo(np.float32).tiny))
    projection = _halve(pca.components_ / deviations[:, None] ** WHITENING)
    mean = pca.mean_.astype(np.float32)
    landmarks = _halve(project(features, mean, projection))
    distances = 2 - 2 * landmarks.astype(np.float64) @ landmarks.T
    sharpness = WIDTH / max(float(np.median(distances)), 1e-6)  # images may all be the same
    kernel = np.exp(-sharpness * distances)
    kernel[np.diag_indices_from(kernel)] += RIDGE
    dual = solve(kernel, targets @ directions.T, assume_a="pos")
    return NGramPredictor(
        mean, projection, landmarks, sharpness, _halve(dual.T),
        np.round(directions / scales).astype(np.int8), scales.astype(np.float32), base, rarities, grams,
    )  # fmt: skip


def _mean_weights(references: Sequence[Sequence[Sequence[int]]], scorer: CiderD) -> list[dict[Gram, float]]:
    """Return for each image the mean over its captions of their TF-IDF vectors, each order scaled to length 1."""
    means = []
    for captions in references:
        mean: dict[Gram, float] = {}
        for weights, norms, _ in map(scorer.weigh, captions):
            for gram, weight in weights.items():
                if weight:
                    mean[gram] = mean.get(gram, 0.0) + weight / norms[len(gram) - 1] / len(captions)
        means.append(mean)
    return means


def _halve(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the values as the file will hold them, in half precision."""
    return values.astype(np.float16).astype(np.float32)
