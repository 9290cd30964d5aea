"""Synthetic blur, noise, JPEG compression and low light, for calibrating and testing the blur check.

Strengths are in pixels of the given image; `calibration` passes images whose longer side is at most 500 pixels. Every
`Degradation` takes an (H, W, 3) uint8 RGB image and a random generator, and returns an image of the same kind.
"""

from collections.abc import Callable
from math import ceil, cos, pi, sin

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Degradation = Callable[[Image, np.random.Generator], Image]


def gaussian(sigma: float) -> Degradation:
    """Return a Gaussian blur."""
    return lambda image, _: np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def disk(radius: float) -> Degradation:
    """Return a defocus blur: a round aperture images a point as an even disk."""
    reach = ceil(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    kernel = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return lambda image, _: _convolve(image, kernel)


def linear_motion(length: float, degrees: float | None = None) -> Degradation:
    """Return the blur of a steady motion along a line of `length` pixels, at `degrees` or in a random direction."""

    def apply(image: Image, rng: np.random.Generator) -> Image:
        angle = rng.uniform(0, pi) if degrees is None else degrees * pi / 180
        along = np.linspace(-0.5, 0.5, 8 * ceil(length)) * (length - 1)
        return _convolve(image, _path_kernel(np.stack([along * cos(angle), along * sin(angle)], axis=1)))

    return apply


def shaken_motion(length: float) -> Degradation:
    """Return the blur of hand shake: a path of `length` pixels whose direction turns 0.25 radians per 64th."""

    def apply(image: Image, rng: np.random.Generator) -> Image:
        heading = rng.uniform(0, 2 * pi) + np.cumsum(rng.normal(0, 0.25, 64))
        corners = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0) * (length - 1) / 64
        steps = np.linspace(0, 63, 8 * ceil(length))
        path = np.stack([np.interp(steps, np.arange(64), corners[:, axis]) for axis in (0, 1)], axis=1)
        return _convolve(image, _path_kernel(path))

    return apply


def noise(sigma: float) -> Degradation:
    """Return sensor noise of `sigma` grey levels, the same in each channel, so that grey does not average it out."""

    def apply(image: Image, rng: np.random.Generator) -> Image:
        grain = rng.normal(0, sigma, (*image.shape[:2], 1))
        return np.asarray(np.clip(np.rint(image + grain), 0, 255), np.uint8)

    return apply


def jpeg(quality: int) -> Degradation:
    """Return JPEG compression at `quality`, 0-100."""

    def apply(image: Image, _: np.random.Generator) -> Image:
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)

    return apply


def low_light(exposure: float) -> Degradation:
    """Return an exposure of `exposure` times the light, with the noise of sigma 2 that remains."""
    grain = noise(2)
    return lambda image, rng: grain(np.asarray(image * exposure, np.uint8), rng)


def then(*steps: Degradation) -> Degradation:
    """Return the degradations applied one after another."""

    def apply(image: Image, rng: np.random.Generator) -> Image:
        for step in steps:
            image = step(image, rng)
        return image

    return apply


BLURS: dict[str, Degradation] = {
    **{f"gaussian {sigma}": gaussian(sigma) for sigma in (2, 3, 4, 6)},
    **{f"disk {radius}": disk(radius) for radius in (3, 4, 6)},
    **{f"motion {length}": linear_motion(length) for length in (9, 15, 25)},
    **{f"horizontal motion {length}": linear_motion(length, 0) for length in (9, 15, 25)},
    **{f"shake {length}": shaken_motion(length) for length in (15, 25, 40)},
    "gaussian 3, noise 8": then(gaussian(3), noise(8)),
    "motion 15, noise 8": then(linear_motion(15), noise(8)),
    "gaussian 3, JPEG 30": then(gaussian(3), jpeg(30)),
    "motion 15, JPEG 30": then(linear_motion(15), jpeg(30)),
    "gaussian 3, light 0.4": then(gaussian(3), low_light(0.4)),
    "motion 15, light 0.4": then(linear_motion(15), low_light(0.4)),
}
HARMLESS: dict[str, Degradation] = {"noise 8": noise(8), "JPEG 30": jpeg(30), "light 0.4": low_light(0.4)}


def _convolve(image: Image, kernel: NDArray[np.float64]) -> Image:
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT), np.uint8)


def _path_kernel(path: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the kernel of an (n, 2) path of (x, y) points, each spread over the four pixels around it."""
    path = path - (path.max(axis=0) + path.min(axis=0)) / 2
    reach = ceil(float(np.abs(path).max())) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    corner = np.floor(path).astype(int)
    right, down = (path - corner).T
    for dx, dy, weight in ((0, 0, (1 - right) * (1 - down)), (1, 0, right * (1 - down)),
                           (0, 1, (1 - right) * down), (1, 1, right * down)):  # fmt: skip
        np.add.at(kernel, (corner[:, 1] + dy + reach, corner[:, 0] + dx + reach), weight)
    return kernel
