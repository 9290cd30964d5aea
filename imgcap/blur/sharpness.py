"""How sharp a picture is: one variance of its Laplacian, compared with one threshold.

The variance of the Laplacian as a focus measure is from Pech-Pacheco et al., "Diatom autofocusing in brightfield
microscopy: a comparative study", ICPR 2000. What is done here before and after it, and why (docs/blur.md has the
measurements):

1. Grey, shrunk (never enlarged) until the longer side is 500 pixels, so that numbers of different pictures compare.
2. A light Gaussian that is drawn out along one axis, once along x and once along y. It takes sensor noise away, and
   it takes away what motion along that axis leaves: edges parallel to the motion stay crisp in a shaken picture, and
   are why the plain measure passes it. The smaller of the two results counts, so detail must be there both ways.
3. The variance of the Laplacian in tiles of about 30 pixels, of which the 98th percentile is the number: a sharp
   subject before a soft background is sharp.
"""

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from math import floor, log2, log10
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from imgcap.errors import InputError
from imgcap.settings import get_settings

WORKING_SIDE = 500  # pixels, the longer side
DENOISE_SIGMA = 0.5  # pixels at working scale, across the axis
AXIS_SIGMA = 2.0  # pixels at working scale, along the axis
TILE_SIDE = 30  # pixels at working scale
TILE_PERCENTILE = 98.0
LOW_DETAIL = 4.0  # grey levels of coarse detail below which a refusal does not blame blur
MAP_LEGEND = (
    "Yellow is sharp, dark blue is soft; parts at or above the threshold have a white outline. "
    "Plain areas such as sky are soft here even in a sharp photo."
)

Reason = Literal["blurred", "low_detail"]
Pixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.bool_] | NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Sharpness:
    """A picture's sharpness and the verdict on it; `valid` is exactly `variance >= threshold`."""

    variance: float  # of the Laplacian, in squared grey levels of 0-255
    threshold: float
    detail: float  # standard deviation of the picture's coarse Laplacian, in grey levels: what blur leaves standing
    valid: bool
    reason: Reason | None  # None when valid


def measure(image: Pixels, threshold: float | None = None) -> Sharpness:
    """Decide whether a picture is sharp enough to describe.

    Args:
        image: (H, W) or (H, W, 1) grey, (H, W, 3) RGB or (H, W, 4) RGBA, seen on white. uint8, uint16 (0-65535), bool,
            or floating point (0-1, or 0-255 where a value exceeds 1).
        threshold: variance from which a picture is valid; None takes `IMGCAP_BLUR_THRESHOLD`.

    Raises:
        InputError: the shape or type is another, there are no pixels, or a value is not finite.
    """
    threshold = get_settings().blur_threshold if threshold is None else threshold
    grey = working_grey(image)
    variance = float(np.percentile(_tile_variances(grey), TILE_PERCENTILE))
    detail = _coarse_detail(grey)
    if variance >= threshold:
        return Sharpness(variance, threshold, detail, valid=True, reason=None)
    return Sharpness(variance, threshold, detail, False, "low_detail" if detail < LOW_DETAIL else "blurred")


def advice(reason: Reason | None) -> str:
    """One sentence for the person with the camera, on why a picture is valid or not."""
    if reason is None:
        return "The photo is sharp enough to describe."
    if reason == "low_detail":
        return "There is too little detail to judge: move closer, add light, or take in more of the scene."
    return "The photo is blurred: hold the camera still or tap to focus, then take it again."


def format_variance(value: float) -> str:
    """A variance in three significant digits, or all of its whole ones: 0.0512, 17.3, 1234.

    Rounded down, so that what lies just below a round threshold never reads as if it reached it.
    """
    if value <= 0:
        return "0"
    decimals = min(max(0, 2 - floor(log10(value))), 6)
    exact = Decimal(repr(float(value)))
    return f"{exact.quantize(Decimal(1).scaleb(-decimals), ROUND_DOWN):f}"


def sharpness_overlay(image: Pixels, threshold: float | None = None) -> NDArray[np.uint8]:
    """The working-size picture under its sharpness map, (h, w, 3) RGB; `MAP_LEGEND` says how to read it.

    Colours run logarithmically from a sixteenth of the threshold to sixteen times it, on cividis, which is made for
    colour-blind viewers too (Nunez, Anderton and Renslow, PLOS ONE 2018).
    """
    threshold = get_settings().blur_threshold if threshold is None else threshold
    grey = working_grey(image)
    height, width = grey.shape
    tiles = _tile_variances(grey)
    octaves = np.log2(np.maximum(tiles, 1e-9) / max(threshold, 1e-9))
    levels = np.interp(octaves, (-4, 4), (0, 255)).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_CIVIDIS), cv2.COLOR_BGR2RGB)
    spread = cv2.resize(colours, (width, height), interpolation=cv2.INTER_NEAREST)
    blended = cv2.addWeighted(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), 0.45, spread, 0.55, 0)
    sharp = cv2.resize((tiles >= threshold).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(sharp, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(blended, outlines, -1, (255, 255, 255), 2), np.uint8)


def working_grey(image: Pixels) -> NDArray[np.uint8]:
    """The picture as (h, w) uint8 grey with its longer side at most `WORKING_SIDE`. Raises InputError as `measure`.

    Large pictures are halved in strips, two rows and columns to one, which OpenCV does fastest, so that no full-size
    copy exists; one area-averaging step does the rest.
    """
    _check(image)
    height, width = image.shape[:2]
    halvings = max(0, int(log2(max(1.0, min(max(height, width) / WORKING_SIDE, height, width)))))
    ceiling = _ceiling(image)
    strip = 16 << halvings
    starts = range(0, height - (1 << halvings) + 1, strip)
    grey = np.vstack([_halve(_grey(image[top : top + strip], ceiling), halvings) for top in starts])
    scale = WORKING_SIDE / max(height, width)
    if scale >= 1:
        return grey
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def _check(image: Pixels) -> None:
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise InputError(
            f"A picture must have the shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), but this has {image.shape}."
        )
    if image.size == 0:
        raise InputError("The picture has no pixels: choose another.")
    if image.dtype not in (np.uint8, np.uint16, np.bool_) and not np.issubdtype(image.dtype, np.floating):
        raise InputError(f"Pixels must be uint8, uint16, bool or floating point, but these are {image.dtype}.")


def _ceiling(image: Pixels) -> float:
    """The value that is white."""
    if image.dtype == np.uint8:
        return 255.0
    if image.dtype == np.uint16:
        return 65535.0
    if image.dtype == np.bool_:
        return 1.0
    top = float(image.max())
    if not np.isfinite(top) or not np.isfinite(float(image.min())):
        raise InputError("The picture has values that are not finite numbers: choose another.")
    return 1.0 if top <= 1 else 255.0


def _grey(strip: Pixels, ceiling: float) -> NDArray[np.uint8]:
    if strip.dtype != np.uint8:
        strip = np.clip(np.rint(strip.astype(np.float32) * (255 / ceiling)), 0, 255).astype(np.uint8)
    if strip.ndim == 2:
        return np.ascontiguousarray(strip, dtype=np.uint8)
    if strip.shape[2] == 1:
        return np.ascontiguousarray(strip[..., 0], dtype=np.uint8)
    if strip.shape[2] == 3:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(strip), cv2.COLOR_RGB2GRAY), np.uint8)
    grey = cv2.cvtColor(np.ascontiguousarray(strip), cv2.COLOR_RGBA2GRAY).astype(np.float32)
    return np.asarray(np.rint(255 + (grey - 255) * (strip[..., 3] / np.float32(255))), np.uint8)


def _halve(grey: NDArray[np.uint8], times: int) -> NDArray[np.uint8]:
    for _ in range(times):
        height, width = grey.shape[0] // 2, grey.shape[1] // 2
        grey = cv2.resize(grey[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
    return grey


def _tile_variances(grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(rows, columns): of the Laplacian of `grey` smoothed along x and along y, the one with the lower percentile."""
    smooth = grey.astype(np.float32)
    along_x, along_y = (
        variance_by_tile(cv2.Laplacian(cv2.GaussianBlur(smooth, (0, 0), sigmaX=x, sigmaY=y), cv2.CV_32F))
        for x, y in ((AXIS_SIGMA, DENOISE_SIGMA), (DENOISE_SIGMA, AXIS_SIGMA))
    )
    return min(along_x, along_y, key=lambda tiles: float(np.percentile(tiles, TILE_PERCENTILE)))


def variance_by_tile(laplacian: NDArray[np.float32]) -> NDArray[np.float64]:
    """The variance of each tile of an (h, w) Laplacian, (rows, columns)."""
    rows, columns = (_bounds(side) for side in laplacian.shape)
    area = np.outer(np.diff(rows), np.diff(columns))
    sums, squares = (_tile_sums(table, rows, columns) for table in cv2.integral2(laplacian, sqdepth=cv2.CV_64F))
    return np.asarray(np.maximum(squares / area - (sums / area) ** 2, 0), np.float64)


def _bounds(side: int) -> NDArray[np.intp]:
    """Tile boundaries along a side, the tiles as near to `TILE_SIDE` as equal ones can be."""
    return np.rint(np.linspace(0, side, max(1, round(side / TILE_SIDE)) + 1)).astype(np.intp)


def _tile_sums(table: NDArray[np.float64], rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.diff(np.diff(table[np.ix_(rows, columns)], axis=0), axis=1)


def _coarse_detail(grey: NDArray[np.uint8]) -> float:
    """Standard deviation of the Laplacian at an eighth of the size: blur leaves some, a plain wall has none."""
    size = (max(1, grey.shape[1] // 8), max(1, grey.shape[0] // 8))
    return float(cv2.Laplacian(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), cv2.CV_64F).std())
