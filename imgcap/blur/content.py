"""Find the parts of an image that are photograph: not margins, gaps, transparent parts or drawn colours.

The blur check must judge a photograph and not its frame, the page it was scanned on or the lines drawn over it. This
module turns an image into one or more `Content`s: rectangles of photograph in grey at the working scale, with a mask of
the pixels that count.

1. Rows and columns that are plain from end to end are cut off. Plain ones inside divide the image into parts (the
   recursive X-Y cut of Nagy and Seth, ICPR 1984): a collage, a screenshot with a photograph in it, a film. The largest
   part and those of at least half its size count.
2. Each part is shrunk (never enlarged) until its longer side is 500 pixels or its shorter side 375, whichever comes
   first, so that a panorama is judged at the size at which people look at it.
3. If there are many isolated black and white points, each becomes the median of its neighbours (Sun and Neuvo, 1994),
   before the last shrinking, which would spread them into blots.
4. Pixels of drawn colours and their neighbours do not count. A grey level that is several times as frequent as every
   level within four of it belongs to a pen, because light and shade have no such peaks.
5. The blocks of a mosaic, in which most columns and most rows repeat the one before, are smoothed, because their edges
   are perfectly sharp but show no detail.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import log2, sqrt
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imgcap.errors import InputError

LONGER_SIDE = 500  # pixels at working scale
SHORTER_SIDE = 375
MOST_PIXELS = 4_000_000  # at working scale: bounds the memory for a very long, narrow image
PLAIN_DEVIATION = 2.5  # grey levels of standard deviation, at most, in a plain row or column
SMALLEST_PART = 0.05  # of the image's area; smaller parts are words and signs, and the image is not cut
MOST_PARTS = 16  # rows or columns of parts; more are lines of text
DRAWN_PEAK = 5  # times as frequent as any nearby grey level
DRAWN_SHARE = 0.0004  # of the pixels, at least, in a drawn colour
DRAWN_COLOURS = 6  # at most; more peaks are the comb of a stretched or dithered image
DRAWN_MOST = 0.3  # of the pixels; above it only areas that touch the edge are taken as drawn
IMPULSE = 20  # grey levels beyond all eight neighbours
IMPULSE_SHARE = 0.003  # of the pixels, from which impulses are noise
MOSAIC = 0.4  # median over mean of the steps between neighbouring columns, below which they are a mosaic's

Grey = NDArray[np.uint8]
Pixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.bool_] | NDArray[np.floating[Any]]
Box = tuple[int, int, int, int]  # top, bottom, left, right


@dataclass(frozen=True)
class Content:
    """A rectangle of photograph inside an image."""

    box: Box  # its place, in pixels of the image
    grey: Grey  # (h, w) at working scale
    own: NDArray[np.uint8]  # (h, w), 1 where a pixel belongs to the photograph, else 0


def photographs(image: Pixels) -> list[Content]:
    """Return the photographs in an image, at least one, at working scale.

    Args:
        image: (H, W) or (H, W, 1) grey, (H, W, 3) RGB or (H, W, 4) RGBA. uint8, uint16 (0-65535), bool, or floating
            point (0-1, or 0-255 where a value exceeds 1).

    Raises:
        InputError: the shape or type is another, there are no pixels, or a value is not finite.
    """
    _check(image)
    ceiling = _ceiling(image)
    height, width = image.shape[:2]
    whole = (0, height, 0, width)
    halvings = _halvings(height, width)
    grey, opaque = _halved(image, ceiling, halvings)
    found = []
    for box in parts(grey):
        outer = _at_full_size(box, grey.shape, halvings, whole)
        tall, wide = outer[1] - outer[0], outer[3] - outer[2]
        top, bottom, left, right = box
        part, mask = grey[top:bottom, left:right], None if opaque is None else opaque[top:bottom, left:right]
        if _halvings(tall, wide) < halvings:  # a small photograph in a large image was halved too often
            cut = image[outer[0] : outer[1], outer[2] : outer[3]]
            part, mask = _halved(cut, ceiling, _halvings(tall, wide))
        found.append(_content(outer, part, mask, _scale(tall, wide)))
    return found


def whole_grey(image: Pixels) -> Grey:
    """Return the whole image in grey at working scale, uncropped. Raises InputError like `photographs`."""
    _check(image)
    height, width = image.shape[:2]
    grey, _ = _halved(image, _ceiling(image), _halvings(height, width))
    return _resized(grey, height, width, _scale(height, width))


def parts(grey: Grey) -> list[Box]:
    """Return the rectangles between plain margins and gaps: the largest, and those of at least half its area."""
    height, width = grey.shape
    leaves = list(_cut(grey, (0, height, 0, width), 4))
    if not leaves:
        return [(0, height, 0, width)]
    largest = max(map(_area, leaves))
    if largest < SMALLEST_PART * height * width:
        tops, bottoms, lefts, rights = zip(*leaves, strict=True)
        return [(min(tops), max(bottoms), min(lefts), max(rights))]
    return [_shaved(leaf, height, width) for leaf in leaves if 2 * _area(leaf) >= largest]


def without_points(grey: Grey) -> Grey:
    """Return `grey` without isolated black and white points, if there are many."""
    ring = np.ones((3, 3), np.uint8)
    ring[1, 1] = 0
    above, below = cv2.subtract(grey, cv2.dilate(grey, ring)), cv2.subtract(cv2.erode(grey, ring), grey)
    isolated = cv2.max(above, below) > IMPULSE
    if np.count_nonzero(isolated) <= IMPULSE_SHARE * grey.size:
        return grey
    return np.asarray(np.where(isolated, cv2.medianBlur(grey, 3), grey), np.uint8)


def without_blocks(grey: Grey) -> Grey:
    """Return `grey`, smoothed twice over the side of a block if the whole image is a mosaic."""
    if min(grey.shape) < 16:
        return grey
    sides = _block_side(grey), _block_side(grey.T)
    side = max(sides)
    return grey if min(sides) < 2 else np.asarray(cv2.blur(cv2.blur(grey, (side, side)), (side, side)), np.uint8)


def _block_side(grey: Grey) -> int:
    """Return the side of a mosaic's blocks along x; 0 if `grey` is not one, where most columns do not repeat."""
    steps = cv2.reduce(cv2.absdiff(grey[:, 1:], grey[:, :-1]), 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel()
    mean = float(steps.mean())
    if float(np.median(steps)) >= MOSAIC * mean:
        return 0
    edges = int(np.count_nonzero(steps > mean))
    return min(round(len(steps) / max(1, edges)), 40)


def drawn(grey: Grey) -> NDArray[np.uint8]:
    """Return a mask (h, w): 1 on pixels of drawn colours and within two pixels of them, else 0."""
    counts = np.bincount(grey.ravel(), minlength=256)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(counts, 4), 9)
    near = np.maximum(around[:, :4].max(axis=1), around[:, 5:].max(axis=1))
    peaks = (counts >= DRAWN_PEAK * near) & (counts >= DRAWN_SHARE * grey.size)
    if not 0 < np.count_nonzero(peaks) <= DRAWN_COLOURS:
        return np.zeros_like(grey)
    mask = np.asarray(cv2.LUT(grey, peaks.astype(np.uint8)), np.uint8)
    if mask.mean() >= DRAWN_MOST:
        mask = _touching_the_edge(np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((5, 5))), np.uint8))
    return np.asarray(cv2.dilate(mask, np.ones((5, 5), np.uint8)), np.uint8)


def _touching_the_edge(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the connected areas of `mask` that reach the image's edge."""
    count, labels = cv2.connectedComponents(mask, connectivity=4)
    reaching = np.zeros(count, np.uint8)
    reaching[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = 1
    reaching[0] = 0
    return np.asarray(reaching[labels], np.uint8)


def _content(box: Box, grey: Grey, opaque: Grey | None, scale: float) -> Content:
    """Return a part at working scale, `scale` times its size in the image."""
    height, width = box[1] - box[0], box[3] - box[2]
    grey = _resized(without_points(grey), height, width, scale)  # points first, since shrinking spreads them
    own = np.uint8(1) - drawn(grey)
    grey = without_blocks(grey)
    if opaque is not None:
        opaque = _resized(opaque, height, width, scale)
        own &= np.asarray(cv2.erode((opaque > 127).astype(np.uint8), np.ones((7, 7), np.uint8)), np.uint8)
    return Content(box, grey, own)


def _resized(grey: Grey, height: int, width: int, scale: float) -> Grey:
    """Return `grey`, which may be halved already, at `scale` times the size `height` by `width`."""
    if scale == 1:
        return grey
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def _scale(height: int, width: int) -> float:
    wanted = max(LONGER_SIDE / max(height, width), SHORTER_SIDE / min(height, width))
    return min(1.0, wanted, sqrt(MOST_PIXELS / (height * width)))


def _halvings(height: int, width: int) -> int:
    """Return how often an image can be halved without becoming smaller than at working scale."""
    return int(log2(1 / _scale(height, width)))


def _at_full_size(box: Box, shape: tuple[int, ...], halvings: int, whole: Box) -> Box:
    """Return a box of the halved image in pixels of the original image."""
    top, bottom, left, right = (side << halvings for side in box)
    return (
        top,
        whole[1] if box[1] == shape[0] else bottom,
        left,
        whole[3] if box[3] == shape[1] else right,
    )


def _cut(grey: Grey, box: Box, depth: int) -> Iterator[Box]:
    """Yield the boxes that remain of `box` when plain rows and columns are cut off, recursively."""
    top, bottom, left, right = box
    inside = grey[top:bottom, left:right].astype(np.float32)
    for axis in (0, 1):
        mean, square = (cv2.reduce(table, 1 - axis, cv2.REDUCE_AVG).ravel() for table in (inside, inside * inside))
        runs = _runs(square - mean * mean > PLAIN_DEVIATION**2)
        if not runs:
            return
        if runs == [(0, inside.shape[axis])]:
            continue
        if len(runs) > MOST_PARTS or not depth:
            runs = [(runs[0][0], runs[-1][1])]
        for start, end in runs:
            part = (top + start, top + end, left, right) if axis == 0 else (top, bottom, left + start, left + end)
            if depth:
                yield from _cut(grey, part, depth - 1)
            else:
                yield part
        return
    yield box


def _runs(full: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return where `full` is true, as (start, end); a single false between two runs is ignored."""
    turns = np.flatnonzero(np.diff(np.concatenate([[False], full, [False]]).astype(np.int8)))
    runs: list[tuple[int, int]] = []
    for start, end in turns.reshape(-1, 2).tolist():
        if runs and start - runs[-1][1] < 2:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((start, end))
    return runs


def _shaved(box: Box, height: int, width: int) -> Box:
    """Return `box` without one pixel at each side where it was cut, which is half frame, half photograph."""
    top, bottom, left, right = box
    if bottom - top > 8:
        top, bottom = top + (top > 0), bottom - (bottom < height)
    if right - left > 8:
        left, right = left + (left > 0), right - (right < width)
    return top, bottom, left, right


def _area(box: Box) -> int:
    return (box[1] - box[0]) * (box[3] - box[2])


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
    """Return the value of white."""
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


def _halved(image: Pixels, ceiling: float, times: int) -> tuple[Grey, Grey | None]:
    """Return the image on white in grey, and its opacity (None if all is opaque), halved `times` times.

    It works in strips, so that no full-size copy exists, and halves two rows and columns to one, which OpenCV does
    fastest.
    """
    strip = 16 << times
    starts = range(0, image.shape[0] - (1 << times) + 1, strip)
    pairs = [_grey(image[top : top + strip], ceiling) for top in starts]
    grey = np.vstack([_halve(part, times) for part, _ in pairs])
    if all(opaque is None for _, opaque in pairs):
        return grey, None
    return grey, np.vstack([
        _halve(np.full(part.shape, 255, np.uint8) if opaque is None else opaque, times) for part, opaque in pairs
    ])  # fmt: skip


def _grey(strip: Pixels, ceiling: float) -> tuple[Grey, Grey | None]:
    """Return a strip in grey and its opacity, which is None if no pixel is transparent."""
    if strip.dtype != np.uint8:
        strip = np.clip(np.rint(strip.astype(np.float32) * (255 / ceiling)), 0, 255).astype(np.uint8)
    if strip.ndim == 2:
        return np.ascontiguousarray(strip, dtype=np.uint8), None
    if strip.shape[2] == 1:
        return np.ascontiguousarray(strip[..., 0], dtype=np.uint8), None
    if strip.shape[2] == 3:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(strip), cv2.COLOR_RGB2GRAY), np.uint8), None
    grey = np.asarray(cv2.cvtColor(np.ascontiguousarray(strip), cv2.COLOR_RGBA2GRAY), np.uint8)
    opaque = np.ascontiguousarray(strip[..., 3], dtype=np.uint8)
    if opaque.min() == 255:
        return grey, None
    seen = 255 + (grey.astype(np.float32) - 255) * (opaque / np.float32(255))
    return np.asarray(np.rint(seen), np.uint8), opaque


def _halve(grey: Grey, times: int) -> Grey:
    for _ in range(times):
        height, width = grey.shape[0] // 2, grey.shape[1] // 2
        grey = np.asarray(
            cv2.resize(grey[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA), np.uint8
        )
    return grey
