"""How sharp a picture is: the variance of its Laplacian at one fixed scale, compared with a threshold."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from imgcap.settings import get_settings

WORKING_SIDE = 500
DENOISE_SIGMA = 1.0
LOW_DETAIL = 4.0

Reason = Literal["blurred", "low_detail"]


@dataclass(frozen=True)
class Sharpness:
    """A picture's sharpness and the verdict on it; `valid` is exactly `variance >= threshold`."""

    variance: float
    threshold: float
    detail: float
    valid: bool
    reason: Reason | None


def measure(image: NDArray[np.uint8], threshold: float | None = None) -> Sharpness:
    """Measure an (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA picture against a threshold.

    Raises:
        ValueError: the array has another shape or no pixels.
    """
    if threshold is None:
        threshold = get_settings().blur_threshold
    if image.ndim not in (2, 3) or image.size == 0 or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise ValueError(f"expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) pixels, got shape {image.shape}")
    if image.ndim == 3:
        image = image[..., 0] if image.shape[2] == 1 else cv2.cvtColor(image[..., :3].copy(), cv2.COLOR_RGB2GRAY)
    scale = WORKING_SIDE / max(image.shape)
    grey = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
    smooth = cv2.GaussianBlur(grey, (0, 0), DENOISE_SIGMA)
    variance = float(cv2.Laplacian(smooth, cv2.CV_64F).var())
    detail = float(grey.std())
    valid = variance >= threshold
    return Sharpness(
        variance, threshold, detail, valid, None if valid else "low_detail" if detail < LOW_DETAIL else "blurred"
    )
