"""Measure how sharp a photograph is: one variance of its Laplacian, compared with one threshold.

The variance of the Laplacian as a focus measure is from Pech-Pacheco et al., "Diatom autofocusing in brightfield
microscopy: a comparative study", ICPR 2000. The steps here, with reasons (docs/blur.md has the measurements):

1. `content` finds the photographs in the image and shrinks them to the working scale.
2. The photograph is smoothed by a Gaussian that is light across a line and wide along it, for lines along x, along y
   and along both diagonals. Camera motion keeps the edges parallel to it crisp, and a drawn line is crisp across;
   smoothing along the motion, or across the drawn line, removes each of them.
3. The variance of the Laplacian is taken in tiles of 6 pixels. The smallest of the four directions counts, so that
   detail must exist in all of them; then the median of each tile and the 24 around it, so that detail must be spread.
4. Noise, grain and JPEG blocks are in every part of the image and grow with light. They are estimated as 1.5 times the
   40th percentile of the tiles of similar brightness (in eight classes of equal size) and subtracted.
5. If light or haze leaves less than 150 grey levels between dark and light, the levels are stretched to 150, at most
   fivefold.
6. The result is the 98th percentile of the tiles with content, so that a sharp subject in front of a soft background
   is sharp.
"""

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from functools import cache
from math import ceil, floor, log10

import cv2
import numpy as np
from numpy.typing import NDArray

from imgcap.blur.content import Box, Content, Grey, Pixels, photographs, whole_grey
from imgcap.reading import Reason

DENOISE_SIGMA = 0.4  # pixels at working scale, across the line
LINE_SIGMA = 3.0  # pixels at working scale, along the line
TILE_SIDE = 6  # pixels at working scale
SPREAD = 5  # tiles on a side, of which the median counts
TILE_PERCENTILE = 98.0
NOISE_PERCENTILE = 40.0
NOISE_CLASSES = 8  # of brightness, with equally many tiles
NOISE_MARGIN = 1.5  # times the variance at that percentile
FULL_RANGE = 150.0  # grey levels between dark and light
MOST_STRETCH = 5.0  # times
LEAST_CONTRAST = 3.0  # grey levels of standard deviation among a tile's mean and those of its eight neighbours
LEAST_SHOWING = 0.01  # of the tiles; fewer than that cannot be judged
LOW_DETAIL = 4.0  # grey levels of coarse detail below which a refusal does not name blur as the reason
DARK, BRIGHT = 50.0, 200.0  # grey levels: hardly any tile is lighter, or darker
SHAKEN = 3.0  # times as much variance along one line as across it
MAP_SIGMA = 3.0  # pixels at working scale, by which the map is smoothed
OCTAVES = 4  # below and above the threshold, which the map's colours span


@dataclass(frozen=True)
class Sharpness:
    """An image's sharpness and the verdict; `valid` is exactly `variance >= threshold`."""

    variance: float  # of the Laplacian, in squared grey levels of 0-255
    threshold: float
    detail: float  # standard deviation of the coarse Laplacian, in grey levels, which blur hardly changes
    valid: bool
    reason: Reason | None  # None when valid


@dataclass(frozen=True)
class _Tiles:
    """A photograph's tiles, (rows, columns); variances are of the Laplacian, in stretched grey levels."""

    directions: NDArray[np.float32]  # (4, rows, columns), each direction's variances with their noise
    noisy: NDArray[np.float32]  # the smallest of the four; 0 where too little belongs to the photograph
    variances: NDArray[np.float32]  # `noisy` without the noise
    showing: NDArray[np.bool_]  # the tiles with content
    levels: tuple[float, float]  # grey levels of 0-255: the 2nd and the 98th percentile of the tiles' means


def measure(image: Pixels, threshold: float) -> Sharpness:
    """Decide whether an image is sharp enough to describe.

    Args:
        image: (H, W) or (H, W, 1) grey, (H, W, 3) RGB or (H, W, 4) RGBA, whose transparent parts do not count. uint8,
            uint16 (0-65535), bool, or floating point (0-1, or 0-255 where a value exceeds 1).
        threshold: smallest variance of a valid image.

    Raises:
        InputError: the shape or type is another, there are no pixels, or a value is not finite.
    """
    contents = photographs(image)
    tiles = [_tiles(content) for content in contents]
    showing = [one.showing for one in tiles]
    variance = _percentile([one.variances for one in tiles], showing)
    detail = max(_coarse_detail(content.grey) for content in contents)
    if variance >= threshold:
        return Sharpness(variance, threshold, detail, valid=True, reason=None)
    return Sharpness(variance, threshold, detail, valid=False, reason=_reason(tiles, threshold, detail))


def _reason(tiles: list[_Tiles], threshold: float, detail: float) -> Reason:
    """Return the reason that most helps a person to take a better photo."""
    if max(one.levels[1] for one in tiles) < DARK:
        return "dark"
    if min(one.levels[0] for one in tiles) > BRIGHT:
        return "bright"
    showing = [one.showing for one in tiles]
    if _percentile([one.noisy for one in tiles], showing) >= threshold:
        return "noisy"
    if detail < LOW_DETAIL:
        return "low_detail"
    # Motion keeps changes across its path, while defocus removes as much in one direction as in the perpendicular one.
    # Only perpendicular pairs are compared, as JPEG blocks and noise are stronger along the sides than the diagonals.
    along_x, along_y, falling, rising = (
        _percentile([one.directions[i] for one in tiles], showing) for i in range(len(_lines()))
    )
    pairs = ((along_x, along_y), (falling, rising))
    return "shaken" if any(max(pair) >= SHAKEN * max(min(pair), 1e-6) for pair in pairs) else "blurred"


def format_variance(value: float) -> str:
    """Return a variance with three significant digits, or all digits of its whole part: 0.0512, 17.3, 1234.

    It is rounded down, so that a value just below a round threshold never looks as if it reached the threshold.
    """
    if value <= 0:
        return "0"
    decimals = min(max(0, 2 - floor(log10(value))), 6)
    exact = Decimal(repr(float(value)))
    return f"{exact.quantize(Decimal(1).scaleb(-decimals), ROUND_DOWN):f}"


def sharpness_overlay(image: Pixels, threshold: float) -> NDArray[np.uint8]:
    """Return the image under its sharpness map, (h, w, 3) RGB: yellow is sharp, dark blue is soft.

    Parts at or above the threshold have a white outline, and parts outside photographs are dark blue. The image has its
    working size. Colours run logarithmically from a sixteenth of the threshold to sixteen times the threshold, on
    cividis, which is also made for colour-blind viewers (Nunez, Anderton and Renslow, PLOS ONE 2018).
    """
    whole = whole_grey(image)
    height, width = whole.shape
    tall, wide = image.shape[:2]
    octaves = np.full(whole.shape, -OCTAVES, np.float32)
    for content in photographs(image):
        tiles = _tiles(content)
        values = np.where(tiles.showing, np.maximum(tiles.variances, 1e-9), 1e-9)
        top, bottom, left, right = _scaled(content.box, height / tall, width / wide)
        size = (right - left, bottom - top)
        levels = np.clip(np.log2(values / max(threshold, 1e-9)), -OCTAVES, OCTAVES).astype(np.float32)
        octaves[top:bottom, left:right] = cv2.resize(levels, size, interpolation=cv2.INTER_CUBIC)
    octaves = cv2.GaussianBlur(octaves, (0, 0), MAP_SIGMA)
    sharp = (octaves >= 0).astype(np.uint8)
    shades = np.interp(octaves, (-OCTAVES, OCTAVES), (0, 255)).astype(np.uint8)
    coloured = cv2.applyColorMap(shades, cv2.COLORMAP_CIVIDIS)
    colours = cv2.cvtColor(coloured, cv2.COLOR_BGR2RGB)
    blended = cv2.addWeighted(cv2.cvtColor(whole, cv2.COLOR_GRAY2RGB), 0.45, colours, 0.55, 0)
    outlines, _ = cv2.findContours(sharp, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(blended, outlines, -1, (255, 255, 255), 1), np.uint8)


def _scaled(box: Box, down: float, across: float) -> Box:
    """Return a box of the image in the map's pixels, at least one pixel large."""
    top, left = int(box[0] * down), int(box[2] * across)
    return top, max(top + 1, round(box[1] * down)), left, max(left + 1, round(box[3] * across))


def _percentile(variances: list[NDArray[np.float32]], showing: list[NDArray[np.bool_]]) -> float:
    """Return `TILE_PERCENTILE` of the tiles with content in all photographs; 0 if there are hardly any."""
    chosen = np.concatenate([values[mask] for values, mask in zip(variances, showing, strict=True)])
    if len(chosen) < max(2, LEAST_SHOWING * sum(mask.size for mask in showing)):
        return 0.0
    return float(np.percentile(chosen, TILE_PERCENTILE))


def _tiles(content: Content) -> _Tiles:
    """Return the tiles of a photograph, with and without their noise."""
    grey, own = content.grey.astype(np.float32), content.own.astype(np.float32)
    rows, columns = (_bounds(side) for side in grey.shape)
    area = np.outer(np.diff(rows), np.diff(columns))
    count = _sums(own, rows, columns)
    judged = count >= 0.4 * area
    if not judged.any():
        nothing = np.zeros((len(_lines()), *area.shape), np.float32)
        return _Tiles(nothing, nothing[0], nothing[0], judged, (0.0, 255.0))
    count = np.maximum(count, 1)
    means = (_sums(grey * own, rows, columns) / count).astype(np.float32)
    dark, light = np.percentile(means[judged], (2, 98))
    stretch = float(np.clip(FULL_RANGE / max(light - dark, 1), 1, MOST_STRETCH))
    directions = np.where(judged, _variances(grey, own, rows, columns, count), 0).astype(np.float32) * stretch**2
    variances = directions.min(axis=0)
    if min(variances.shape) >= SPREAD:
        variances = np.asarray(cv2.medianBlur(variances, SPREAD), np.float32)
    showing = judged & (_deviation(means, judged) * stretch >= LEAST_CONTRAST)
    without = np.maximum(variances - _noise(variances, means, judged), 0)
    return _Tiles(directions, variances, without, showing, (float(dark), float(light)))


def _noise(
    variances: NDArray[np.float32], means: NDArray[np.float32], judged: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the noise in each tile: a percentile of the tiles of similar brightness, times a margin."""
    steps = np.linspace(0, 100, NOISE_CLASSES + 1)[1:-1]
    group = np.digitize(means, np.percentile(means[judged], steps))
    floors = np.zeros(NOISE_CLASSES, np.float32)
    for number in range(NOISE_CLASSES):
        inside = variances[judged & (group == number)]
        floors[number] = NOISE_MARGIN * np.percentile(inside, NOISE_PERCENTILE) if inside.size else 0
    return floors[group]


def _variances(
    grey: NDArray[np.float32], own: NDArray[np.float32], rows: NDArray[np.intp], columns: NDArray[np.intp],
    count: NDArray[np.float64],
) -> NDArray[np.float64]:  # fmt: skip
    """Return the variance of the Laplacian in each tile and each of four directions, (4, rows, columns)."""
    soft = cv2.GaussianBlur(grey, (0, 0), DENOISE_SIGMA)
    variances = []
    masked = not own.all()
    for kernels in _lines():
        smooth = soft
        for kernel in kernels:
            smooth = cv2.filter2D(smooth, -1, kernel)
        laplacian = cv2.Laplacian(smooth, cv2.CV_32F)
        if masked:
            laplacian *= own
        sums, squares = (_table_sums(table, rows, columns) for table in cv2.integral2(laplacian, sqdepth=cv2.CV_64F))
        variances.append(squares / count - (sums / count) ** 2)
    return np.maximum(np.stack(variances), 0)


@cache
def _lines() -> tuple[tuple[NDArray[np.float32], ...], ...]:
    """Return the kernels that smooth along x, along y and along each diagonal.

    A diagonal takes two kernels of 11 pixels, for which OpenCV uses only the few entries that are not zero; for one of
    15 pixels it would use a Fourier transform.
    """
    along, half = _gaussian(LINE_SIGMA), np.diag(_gaussian(LINE_SIGMA / 2))
    other = np.ascontiguousarray(half[:, ::-1])
    return (along[None, :],), (along[:, None],), (half, half), (other, other)


def _gaussian(sigma: float) -> NDArray[np.float32]:
    """Return a Gaussian of `sigma` steps, over three sigmas to each side."""
    steps = np.arange(-ceil(3 * sigma), ceil(3 * sigma) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    return np.asarray(weights / weights.sum(), np.float32)


def _deviation(means: NDArray[np.float32], judged: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the standard deviation of the means of each tile and its neighbours, if they are judged."""
    weight = judged.astype(np.float32)
    total, squares, count = (
        cv2.boxFilter(table, -1, (3, 3), normalize=False, borderType=cv2.BORDER_REFLECT)
        for table in (means * weight, means * means * weight, weight)
    )
    count = np.maximum(count, 1)
    return np.asarray(np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0)), np.float32)


def _bounds(side: int) -> NDArray[np.intp]:
    """Return tile boundaries along a side, for equal tiles as close to `TILE_SIDE` as possible."""
    return np.rint(np.linspace(0, side, max(1, round(side / TILE_SIDE)) + 1)).astype(np.intp)


def _sums(values: NDArray[np.float32], rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float64]:
    return _table_sums(cv2.integral(values, sdepth=cv2.CV_64F), rows, columns)


def _table_sums(table: NDArray[np.float64], rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.diff(np.diff(table[np.ix_(rows, columns)], axis=0), axis=1)


def _coarse_detail(grey: Grey) -> float:
    """Return the Laplacian's deviation at an eighth of the size: blur leaves some, a plain wall has none."""
    size = (max(1, grey.shape[1] // 8), max(1, grey.shape[0] // 8))
    return float(cv2.Laplacian(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), cv2.CV_64F).std())
