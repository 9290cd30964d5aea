"""Fit what predicts n-grams, `imgcap.inference.judging.expected_ngrams`, and is kept beside a captioner's weights."""

from collections import Counter
from collections.abc import Sequence
from typing import cast

import numpy as np
from scipy.linalg import inv
from sklearn.decomposition import PCA
from sklearn.utils.extmath import randomized_svd

from imgcap.inference.engines.engine import Features
from imgcap.inference.judging.cider import CiderD, Gram
from imgcap.inference.judging.expected_ngrams import NGramPredictor, Projection, RoundedRows, gaussian, join

COMPONENTS = 384  # projected features
WHITENING = 0.4  # power of the standard deviations by which the components are divided; 1 would make all equal
WIDTH = 2.5  # of the kernel: squared distances are divided by their median over this
RIDGE = 0.1
DIRECTIONS = 384  # latent directions; fewer lose the rarer n-grams
MIN_IMAGES = 5  # images whose captions contain an n-gram, at least
MOST_IMAGES = 6000  # the kernel's matrix grows with the square


def fit_predictor(
    features: Features, references: Sequence[Sequence[Sequence[int]]], scorer: CiderD, unknown: int
) -> NGramPredictor | None:
    """Return a predictor of n-grams from images with captions; None if no n-gram is in the captions of MIN_IMAGES.

    The latent directions are those along which the predictions of images vary that the regression was not fitted on.
    They are a better use of few directions than those along which the captions themselves vary, most of which no
    feature predicts (reduced-rank regression; Izenman, 1975, Journal of Multivariate Analysis 5).

    Args:
        features: of N training images.
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

    projection = _fit_projection(features)
    # What the file will hold is used from here on, so that the rounding is part of the fit.
    landmarks = RoundedRows.round(projection.project(features)).values
    distances = 2 - 2 * landmarks @ landmarks.T
    sharpness = WIDTH / max(float(np.median(distances)), 1e-6)  # images may all be the same
    kernel = gaussian(landmarks, landmarks, sharpness)
    kernel[np.diag_indices_from(kernel)] += RIDGE
    inverse = inv(kernel)
    dual = inverse @ targets
    # The prediction of each image from all others, without a fit for each (Craven and Wahba, 1978, Numer. Math. 31).
    left_out = targets - dual / inverse.diagonal()[:, None]
    _, _, directions = randomized_svd(left_out, min(DIRECTIONS, *targets.shape), random_state=0)
    return NGramPredictor(
        projection, landmarks, sharpness, RoundedRows.round((dual @ directions.T).T).values,
        RoundedRows.round(directions), base, rarities, grams,
    )  # fmt: skip


def _fit_projection(features: Features) -> Projection:
    """Return the principal components of features, which are first scaled to the same variance in each map."""
    tiny = np.finfo(np.float32).tiny
    spreads = np.concatenate([np.full(one.shape[1], np.sqrt(one.var(0).sum()) or 1) for one in features.maps])
    joined = join(features)
    most = min(COMPONENTS, len(joined) - 1, joined.shape[1])
    pca = PCA(most, svd_solver="covariance_eigh").fit(joined / spreads)
    deviations = np.sqrt(np.maximum(pca.explained_variance_, tiny))
    components = RoundedRows.round(pca.components_ / deviations[:, None] ** WHITENING).values
    return Projection(joined.mean(0), spreads.astype(np.float32), components)


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
