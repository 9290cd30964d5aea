"""Recognise images unlike those that a captioner learned from: receipts, screenshots, charts, drawings.

A Gaussian models the features of familiar images before the encoder's last block, averaged: principal components with
their variances, and one variance for all other directions (Tipping and Bishop, 1999, probabilistic principal component
analysis). The distance of an image is the Mahalanobis distance under this Gaussian (Lee et al., 2018, arXiv:1807.03888,
without classes). An image further away than nearly all validation images is unfamiliar. No second network runs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgcap.inference.judging.fitted import read_fitted, write_fitted

FILE = "familiar.safetensors"
COMPONENTS = 256
MOST_WARNED = 0.02  # of validation images; a little below the 3% that would be too many


@dataclass(frozen=True)
class Bounds:
    """The Gaussian of a captioner's familiar images, and the threshold on the distance.

    mean: (E,), mean of the features.
    components: (K, E), orthonormal.
    variances: (K,), variances along the components.
    rest: mean variance in all other directions.
    threshold: distance above which an image is unfamiliar.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    variances: NDArray[np.float32]
    rest: float
    threshold: float

    def distances(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the distance of each image, (B,), from its mean features before the last block (B, E)."""
        centred = features - self.mean
        along = centred @ self.components.T
        across = np.maximum((centred**2).sum(1) - (along**2).sum(1), 0)
        return np.asarray(np.sqrt((along**2 / self.variances).sum(1) + across / self.rest))

    def are_unfamiliar(self, features: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return for each image, (B,), whether it is unlike the images that the captioner learned from."""
        return np.asarray(self.distances(features) > self.threshold)


def fit_bounds(learned: NDArray[np.float32], unseen: NDArray[np.float32], components: int = COMPONENTS) -> Bounds:
    """Return the bounds fitted to features of training and validation images.

    Args:
        learned: pooled features of training images, (n, E), at least two.
        unseen: pooled features of validation images, (m, E), which give the threshold, because the encoder knows its
            training images better than any others.
        components: maximum number of principal components.
    """
    mean = learned.mean(0)
    _, spread, directions = np.linalg.svd(learned - mean, full_matrices=False)
    variances = spread**2 / len(learned)
    kept = min(components, len(learned) - 1, learned.shape[1])
    tiny = float(np.finfo(np.float32).tiny)
    rest = max(float(variances[kept:].sum()) / max(learned.shape[1] - kept, 1), tiny)
    # Half precision as in the file, so that the threshold fits the components that will be read.
    bounds = Bounds(mean, _halve(directions[:kept]), np.maximum(variances[:kept], tiny), rest, np.inf)
    return Bounds(
        bounds.mean, bounds.components, bounds.variances, rest,
        float(np.quantile(bounds.distances(unseen), 1 - MOST_WARNED)),
    )  # fmt: skip


def save_bounds(folder: Path, bounds: Bounds) -> None:
    """Write the bounds into a captioner's folder: 1 MB for ResNet50."""
    tensors: dict[str, NDArray[Any]] = {
        "early_mean": bounds.mean, "components": bounds.components.astype(np.float16), "variances": bounds.variances,
        "scalars": np.array([bounds.rest, bounds.threshold]),
    }  # fmt: skip
    write_fitted(folder / FILE, tensors)


def load_bounds(folder: Path) -> Bounds | None:
    """Return the bounds in a captioner's folder; None if it has none.

    Raises:
        InputError: the file is damaged.
    """
    return read_fitted(folder / FILE, _read_bounds)


def _read_bounds(file: Any) -> Bounds:
    mean, components, variances, scalars = (
        file.get_tensor(name) for name in ("early_mean", "components", "variances", "scalars")
    )
    rest, threshold = scalars.tolist()
    return Bounds(mean, components.astype(np.float32), variances, rest, threshold)


def _halve(directions: NDArray[np.float32]) -> NDArray[np.float32]:
    return directions.astype(np.float16).astype(np.float32)
