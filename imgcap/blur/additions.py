"""Add what people and programs add to photographs: frames, lines, text, noise, dither, blocks, low light.

No addition changes whether the photograph is sharp, so the blur check must answer as it did without the addition.
Widths, colours, places, numbers and strengths are drawn anew at each call. Every function takes an (H, W, 3) uint8 RGB
photograph and a random generator, and returns (H', W', 3) or, with transparency, (H', W', 4) uint8.
"""

from math import ceil
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from imgcap.blur.degradations import Degradation, Image, jpeg, low_light

Colour = tuple[int, int, int]
WORDS = ("IMG 0042", "(c) studio", "Hello!", "SALE", "2024-07-16", "What did he say?", "Have a nice day", "person 0.98")
FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_COMPLEX)


# around the photograph


def frame(image: Image, rng: np.random.Generator) -> Image:
    """Add a plain frame of 1 to 40 pixels, on all sides or on some, sometimes with a second one around it."""
    for _ in range(1 + (rng.random() < 0.25)):
        width = int(np.exp(rng.uniform(0, np.log(40))))
        sides = np.ones(4, bool) if rng.random() < 0.7 else rng.random(4) < 0.6
        image = _bordered(image, [width * int(side) for side in sides], _colour(rng))
    return image


def letterbox(image: Image, rng: np.random.Generator) -> Image:
    """Add black or plain bars above and below or at both sides."""
    bar = int(rng.uniform(0.05, 0.6) * image.shape[0])
    sides = (bar, bar, 0, 0) if rng.random() < 0.6 else (0, 0, bar, bar)
    return _bordered(image, sides, (0, 0, 0) if rng.random() < 0.6 else _colour(rng))


def page(image: Image, rng: np.random.Generator) -> Image:
    """Place the photograph anywhere on a white or cream page, as in a scan, sometimes with a little noise."""
    height, width = image.shape[:2]
    rows, columns = (int(side * rng.uniform(1.1, 2.5)) for side in (height, width))
    paper = np.empty((rows, columns, 3), np.uint8)
    paper[:] = (255, 255, 255) if rng.random() < 0.5 else _shade(rng, 225, 256)
    top, left = (int(rng.integers(0, space + 1)) for space in (rows - height, columns - width))
    paper[top : top + height, left : left + width] = image
    if rng.random() < 0.3:
        paper = _clipped(paper + rng.normal(0, 1.5, (rows, columns, 1)))
    return paper


def cut_out(image: Image, rng: np.random.Generator) -> Image:
    """Cut out a circle, an ellipse, a rounded rectangle or a polygon; the transparent ground hides any colour."""
    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    line = cv2.LINE_AA if rng.random() < 0.5 else cv2.LINE_8
    shape = rng.integers(4)
    middle = (width // 2, height // 2)
    if shape == 0:
        cv2.circle(mask, middle, min(middle), 255, -1, line)
    elif shape == 1:
        cv2.ellipse(mask, middle, middle, 0, 0, 360, 255, -1, line)
    elif shape == 2:
        mask = _rounded(height, width, int(rng.uniform(0.05, 0.4) * height))
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(5, 12)))
        corners = np.stack([np.cos(angles) * middle[0], np.sin(angles) * middle[1]], 1) + middle
        cv2.fillPoly(mask, [corners.astype(np.int32)], 255, line)
    hidden = image if rng.random() < 0.5 else np.full_like(image, _colour(rng))
    return np.dstack([np.where(mask[..., None] > 0, image, hidden), mask])


def turned(image: Image, rng: np.random.Generator) -> Image:
    """Rotate by up to 45 degrees and fill the corners with black, white or a colour."""
    height, width = image.shape[:2]
    angle = rng.uniform(1, 45) * rng.choice([-1, 1])
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1)
    cos, sin = np.abs(matrix[0, :2])
    size = (int(height * sin + width * cos), int(height * cos + width * sin))
    matrix[:, 2] += (np.array(size) - (width, height)) / 2
    fill = _colour(rng)
    return np.asarray(cv2.warpAffine(image, matrix, size, flags=cv2.INTER_CUBIC, borderValue=fill), np.uint8)


def rounded_corners(image: Image, rng: np.random.Generator) -> Image:
    """Round the corners on a plain ground, without transparency."""
    height, width = image.shape[:2]
    mask = _rounded(height, width, int(rng.uniform(0.03, 0.3) * height))[..., None] / 255
    return _clipped(image * mask + np.array(_colour(rng)) * (1 - mask))


def film(image: Image, rng: np.random.Generator) -> Image:
    """Add the border of a film: dark, with light sprocket holes and a frame number."""
    height, width = image.shape[:2]
    band = int(rng.uniform(0.1, 0.2) * height)
    ground = _shade(rng, 0, 40)
    strip = _bordered(image, (band, band, int(rng.integers(0, 30)), int(rng.integers(0, 30))), ground)
    step = int(rng.uniform(1.0, 1.8) * band)
    hole = _shade(rng, 200, 256)
    for left in range(step // 4, strip.shape[1] - band // 2, step):
        for top in (band // 4, strip.shape[0] - 3 * band // 4):
            cv2.rectangle(strip, (left, top), (left + band // 2, top + band // 2), hole, -1, cv2.LINE_AA)
    place = (width // 2, strip.shape[0] - band // 8)
    cv2.putText(strip, "22A", place, cv2.FONT_HERSHEY_PLAIN, 0.8, (240, 160, 60), 1, cv2.LINE_AA)
    return strip


def instant_print(image: Image, rng: np.random.Generator) -> Image:
    """Add the frame of an instant print: light, wide at the bottom, with a word written there."""
    side = int(rng.uniform(0.04, 0.1) * image.shape[1])
    light = _shade(rng, 225, 256)
    card = _bordered(image, (side, 4 * side, side, side), light)
    place = (2 * side, card.shape[0] - side)
    cv2.putText(card, str(rng.choice(WORDS)), place, cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, 1, (40, 40, 60), 1, cv2.LINE_AA)
    return card


def collage(image: Image, rng: np.random.Generator) -> Image:
    """Place two to nine copies, some mirrored, with plain gaps of 2 to 20 pixels or as a contact sheet."""
    rows, columns = ((1, 2), (2, 1), (2, 2), (2, 3), (3, 3))[rng.integers(5)]
    gap = int(rng.integers(2, 21))
    height, width = image.shape[:2]
    sheet = np.empty((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), np.uint8)
    sheet[:] = _colour(rng)
    for row in range(rows):
        for column in range(columns):
            copy = image[:, ::-1] if rng.random() < 0.5 else image
            top, left = gap + row * (height + gap), gap + column * (width + gap)
            sheet[top : top + height, left : left + width] = copy
    return sheet if rng.random() < 0.5 else sheet[gap:-gap, gap:-gap]


def seamless_collage(image: Image, rng: np.random.Generator) -> Image:
    """Place two or four copies side by side without a gap."""
    rows, columns = ((1, 2), (2, 1), (2, 2))[rng.integers(3)]
    return np.vstack([np.hstack([image] * columns)] * rows)


def screenshot(image: Image, rng: np.random.Generator) -> Image:
    """Draw a telephone's screen with the photograph in it: status line, title, buttons, lines of text."""
    dark = rng.random() < 0.4
    ground, ink = ((18, 18, 18), (235, 235, 235)) if dark else ((255, 255, 255), (20, 20, 20))
    height, width = image.shape[:2]
    above, below = int(rng.uniform(60, 140)), int(rng.uniform(80, 300))
    margin = int(rng.choice([0, 0, 16]))
    screen = _bordered(image, (above, below, margin, margin), ground)
    font = int(rng.choice(FONTS[:2]))
    cv2.putText(screen, "9:41", (12, 20), font, 0.5, ink, 1, cv2.LINE_AA)
    cv2.rectangle(screen, (width - 40, 8), (width - 16, 20), ink, 1)
    cv2.circle(screen, (30, above - 24), 16, _colour(rng), -1, cv2.LINE_AA)
    cv2.putText(screen, str(rng.choice(WORDS)), (60, above - 20), font, 0.6, ink, 1, cv2.LINE_AA)
    for line in range(above + height + 30, screen.shape[0] - 8, 26):
        text = " ".join(rng.permutation(WORDS)[:3])
        cv2.putText(screen, text, (12, line), font, 0.5, ink, 1, cv2.LINE_AA)
    return screen


# drawn over the photograph


def grid(image: Image, rng: np.random.Generator) -> Image:
    """Draw a grid of lines across the whole image, such as the rule of thirds."""
    image = image.copy()
    height, width = image.shape[:2]
    rows, columns = ((3, 3), (2, 2), (4, 4), (4, 6), (8, 8))[rng.integers(5)]
    thick, colour = int(rng.integers(1, 4)), _colour(rng)
    for row in range(1, rows):
        cv2.line(image, (0, row * height // rows), (width, row * height // rows), colour, thick)
    for column in range(1, columns):
        cv2.line(image, (column * width // columns, 0), (column * width // columns, height), colour, thick)
    return image


def lines(image: Image, rng: np.random.Generator) -> Image:
    """Draw one to six straight lines or arrows at any angle."""
    image = image.copy()
    for _ in range(rng.integers(1, 7)):
        start, end = (_point(image, rng) for _ in range(2))
        thick, kind = int(rng.integers(1, 5)), int(rng.choice([cv2.LINE_8, cv2.LINE_AA]))
        if rng.random() < 0.3:
            cv2.arrowedLine(image, start, end, _colour(rng), thick, kind, tipLength=0.1)
        else:
            cv2.line(image, start, end, _colour(rng), thick, kind)
    return image


def boxes(image: Image, rng: np.random.Generator) -> Image:
    """Draw one to five detection boxes, some with a filled label."""
    image = image.copy()
    for _ in range(rng.integers(1, 6)):
        (x0, y0), (x1, y1) = (_point(image, rng) for _ in range(2))
        colour, thick = _colour(rng), int(rng.integers(1, 5))
        cv2.rectangle(image, (x0, y0), (x1, y1), colour, thick)
        if rng.random() < 0.5:
            left, top = min(x0, x1), min(y0, y1)
            cv2.rectangle(image, (left, top - 16), (left + 90, top), colour, -1)
            cv2.putText(image, "person 0.98", (left + 2, top - 4), FONTS[0], 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return image


def circles(image: Image, rng: np.random.Generator) -> Image:
    """Draw one to four rings, as people do around a detail, and crosshairs."""
    image = image.copy()
    for _ in range(rng.integers(1, 5)):
        radius, colour = int(rng.uniform(0.05, 0.35) * min(image.shape[:2])), _colour(rng)
        middle, thick = _point(image, rng), int(rng.integers(1, 6))
        cv2.circle(image, middle, radius, colour, thick, cv2.LINE_AA)
        if rng.random() < 0.3:
            cv2.drawMarker(image, middle, colour, cv2.MARKER_CROSS, 3 * radius, thick)
    return image


def ruler(image: Image, rng: np.random.Generator) -> Image:
    """Draw a scale with ticks and numbers along one side."""
    image = image.copy()
    height, width = image.shape[:2]
    step, colour, thick = int(rng.uniform(5, 20)), _colour(rng), int(rng.integers(1, 3))
    upright = rng.random() < 0.5
    for number, place in enumerate(range(0, height if upright else width, step)):
        length = 16 if number % 5 == 0 else 8
        start, end = ((0, place), (length, place)) if upright else ((place, height - length), (place, height))
        cv2.line(image, start, end, colour, thick)
        if number % 10 == 0 and number:
            at = (18, place + 4) if upright else (place - 6, height - 20)
            cv2.putText(image, str(number), at, FONTS[0], 0.4, colour, 1, cv2.LINE_AA)
    return image


def date(image: Image, rng: np.random.Generator) -> Image:
    """Write a camera's date into a corner."""
    image = image.copy()
    height, width = image.shape[:2]
    place = (int(rng.choice([0.03, 0.65]) * width), int(rng.choice([0.08, 0.95]) * height))
    colour = (255, 140, 60) if rng.random() < 0.5 else _colour(rng)
    scale, thick = width / rng.uniform(500, 1000), int(rng.integers(1, 3))
    cv2.putText(image, "2024-07-16", place, int(rng.choice(FONTS)), scale, colour, thick, cv2.LINE_AA)
    return image


def watermark(image: Image, rng: np.random.Generator) -> Image:
    """Write a half transparent word: once and large, or many times across the whole image."""
    height, width = image.shape[:2]
    layer = np.zeros((height, width), np.uint8)
    font, text = int(rng.choice(FONTS)), str(rng.choice(WORDS))
    if rng.random() < 0.5:
        cv2.putText(layer, text, (width // 10, height // 2), font, width / 250, 255, 3, cv2.LINE_AA)
    else:
        step = int(rng.uniform(60, 140))
        for top in range(step // 2, height, step):
            for left in range(-width // 4, width, 2 * step):
                cv2.putText(layer, text, (left + top % step, top), font, 0.6, 255, 1, cv2.LINE_AA)
    if rng.random() < 0.5:
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), float(rng.uniform(-45, 45)), 1)
        layer = np.asarray(cv2.warpAffine(layer, turn, (width, height)), np.uint8)
    share = layer[..., None] / 255 * rng.uniform(0.15, 0.6)
    return _clipped(image * (1 - share) + 255 * share)


def subtitles(image: Image, rng: np.random.Generator) -> Image:
    """Write one or two lines at the bottom, or top and bottom as in memes: plain, outlined, or on a dark bar."""
    image = image.copy()
    height, width = image.shape[:2]
    scale, font = width / rng.uniform(500, 800), int(rng.choice(FONTS[:2]))
    light = (255, 255, 255) if rng.random() < 0.7 else (255, 255, 0)
    places = (0.95, 0.87) if rng.random() < 0.7 else (0.12, 0.95)
    style = rng.integers(3)
    for place in places[: rng.integers(1, 3)]:
        text = " ".join(rng.permutation(WORDS)[:2])[:26]
        (long, tall), _ = cv2.getTextSize(text, font, scale, 2)
        at = (max((width - long) // 2, 0), int(place * height))
        if style == 0:
            cv2.rectangle(image, (at[0] - 4, at[1] - tall - 4), (at[0] + long + 4, at[1] + 6), (0, 0, 0), -1)
        elif style == 1:
            cv2.putText(image, text, at, font, scale, (0, 0, 0), 5, cv2.LINE_AA)
        cv2.putText(image, text, at, font, scale, light, 2, cv2.LINE_AA)
    return image


def sticker(image: Image, rng: np.random.Generator) -> Image:
    """Add one to three round or square stickers of plain colours, of up to a quarter of the image's height."""
    image = image.copy()
    for _ in range(rng.integers(1, 4)):
        radius = int(rng.uniform(0.04, 0.125) * image.shape[0])
        x, y = _point(image, rng)
        colour = _colour(rng)
        if rng.random() < 0.5:
            cv2.circle(image, (x, y), radius, colour, -1, cv2.LINE_AA)
            for side in (-1, 1):
                cv2.circle(image, (x + side * radius // 3, y - radius // 4), radius // 6, (0, 0, 0), -1, cv2.LINE_AA)
            size = (radius // 2, radius // 3)
            cv2.ellipse(image, (x, y + radius // 5), size, 0, 0, 180, (0, 0, 0), 2, cv2.LINE_AA)
        else:
            cv2.rectangle(image, (x - radius, y - radius), (x + radius, y + radius), colour, -1)
            cv2.rectangle(image, (x - radius, y - radius), (x + radius, y + radius), (255, 255, 255), 3)
            cv2.putText(image, "SALE", (x - radius + 4, y + 6), FONTS[1], radius / 45, (0, 0, 0), 1, cv2.LINE_AA)
    return image


def code(image: Image, rng: np.random.Generator) -> Image:
    """Add a square code of black and white modules in a corner."""
    image = image.copy()
    modules, module = int(rng.choice([21, 25])), int(rng.integers(2, 5))
    side = modules * module + 2 * module
    side = min(side, *image.shape[:2])
    pattern = np.kron(rng.integers(0, 2, (modules, modules)), np.ones((module, module))) * 255
    square = np.full((side, side), 255, np.uint8)
    square[module : side - module, module : side - module] = pattern[: side - 2 * module, : side - 2 * module]
    top, left = (int(rng.choice([0, space])) for space in (image.shape[0] - side, image.shape[1] - side))
    image[top : top + side, left : left + side] = square[..., None]
    return image


def picture_in_picture(image: Image, rng: np.random.Generator) -> Image:
    """Add a small copy of the image itself in a corner, as in video calls."""
    image = image.copy()
    height, width = image.shape[:2]
    scale = rng.uniform(0.15, 0.25)
    small = cv2.resize(image, (int(width * scale), int(height * scale)), interpolation=cv2.INTER_AREA)
    small = _bordered(np.asarray(small, np.uint8), (2, 2, 2, 2), _colour(rng))
    top, left = 10, width - small.shape[1] - 10
    image[top : top + small.shape[0], left : left + small.shape[1]] = small
    return image


def scanlines(image: Image, rng: np.random.Generator) -> Image:
    """Darken every second to sixth row, as on a filmed screen."""
    light = np.ones((len(image), 1, 1))
    light[:: int(rng.integers(2, 7))] = rng.uniform(0.4, 0.9)
    return _clipped(image * light)


# noise, dither and coding


def gaussian_noise(image: Image, rng: np.random.Generator) -> Image:
    """Add noise of sigma 4 to 25, in luminance or in each colour."""
    channels = 1 if rng.random() < 0.7 else 3
    return _clipped(image + rng.normal(0, np.exp(rng.uniform(np.log(4), np.log(25))), (*image.shape[:2], channels)))


def shot_noise(image: Image, rng: np.random.Generator) -> Image:
    """Add noise that grows with light, of 100 to 1000 photons at white."""
    photons = np.exp(rng.uniform(np.log(100), np.log(1000)))
    ratio = rng.poisson(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) / 255 * photons) / photons * 255
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return _clipped(image + (ratio - grey)[..., None])


def film_grain(image: Image, rng: np.random.Generator) -> Image:
    """Add grain of 1 to 2 pixels and sigma 4 to 12."""
    grain = cv2.GaussianBlur(rng.normal(0, 1, image.shape[:2]), (0, 0), rng.uniform(0.4, 0.8))
    return _clipped(image + (grain / grain.std() * rng.uniform(4, 12))[..., None])


def salt_and_pepper(image: Image, rng: np.random.Generator) -> Image:
    """Make 0.2% to 5% of the pixels black or white."""
    image = image.copy()
    hit = rng.random(image.shape[:2]) < np.exp(rng.uniform(np.log(0.002), np.log(0.05)))
    image[hit] = rng.choice([0, 255], (int(hit.sum()), 1))
    return image


def dither(image: Image, rng: np.random.Generator) -> Image:
    """Reduce to black and white or a few levels: by error diffusion, an ordered matrix, or random thresholds."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    kind = rng.integers(4)
    if kind == 0:
        dots = np.asarray(PillowImage.fromarray(grey).convert("1", dither=PillowImage.Dither.FLOYDSTEINBERG)) * 255
    elif kind == 1:
        palette = PillowImage.fromarray(image).quantize(
            int(rng.choice([4, 8, 16])), dither=PillowImage.Dither.FLOYDSTEINBERG
        )
        return np.asarray(palette.convert("RGB"))
    else:
        matrix = _bayer(int(rng.choice([4, 8])))
        tiled = np.tile(matrix, [ceil(a / b) for a, b in zip(grey.shape, matrix.shape, strict=True)])
        limit = tiled[: grey.shape[0], : grey.shape[1]] if kind == 2 else rng.random(grey.shape)
        dots = (grey / 255 > limit) * 255
    return np.repeat(dots.astype(np.uint8)[..., None], 3, axis=2)


def poor_jpeg(image: Image, rng: np.random.Generator) -> Image:
    """Compress as JPEG of quality 8 to 40."""
    return jpeg(int(rng.integers(8, 41)))(image, rng)


def sharpened(image: Image, rng: np.random.Generator) -> Image:
    """Apply an unsharp mask of radius 0.5 to 2 and amount 0.5 to 2."""
    amount, soft = rng.uniform(0.5, 2), cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2)).astype(np.float32)
    return _clipped(image * (1 + amount) - soft * amount)


def mosaic(image: Image, rng: np.random.Generator, blocks: tuple[int, int] = (4, 32)) -> Image:
    """Reduce the whole image to square blocks of 4 to 32 pixels."""
    height, width = image.shape[:2]
    side = int(np.exp(rng.uniform(np.log(blocks[0]), np.log(blocks[1] + 0.99))))
    small = cv2.resize(image, (max(1, width // side), max(1, height // side)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


# shape and light


def panorama(image: Image, rng: np.random.Generator) -> Image:
    """Make the image two to ten times as wide or as high, by copies mirrored one after another."""
    upright = bool(rng.random() < 0.5)
    copies = [image if number % 2 == 0 else image[:: -1 if upright else 1, :: 1 if upright else -1]
              for number in range(int(rng.integers(2, 11)))]  # fmt: skip
    return np.ascontiguousarray(np.concatenate(copies, axis=0 if upright else 1))


def strip(image: Image, rng: np.random.Generator) -> Image:
    """Return a strip of the image, three to eight times as long as wide."""
    height, width = image.shape[:2]
    broad = int(max(height, width) / rng.uniform(3, 8))
    if rng.random() < 0.5:
        top = int(rng.integers(0, height - min(broad, height) + 1))
        return np.ascontiguousarray(image[top : top + broad])
    left = int(rng.integers(0, width - min(broad, width) + 1))
    return np.ascontiguousarray(image[:, left : left + broad])


def dusk(image: Image, rng: np.random.Generator) -> Image:
    """Keep 0.2 to 0.4 of the light, and add the noise of sigma 2 that remains."""
    return low_light(float(rng.uniform(0.2, 0.4)))(image, rng)


def fog(image: Image, rng: np.random.Generator) -> Image:
    """Reduce contrast to 0.2 to 0.5, towards light grey."""
    clear, veil = rng.uniform(0.2, 0.5), rng.uniform(150, 230)
    return _clipped(image * clear + veil * (1 - clear) + rng.normal(0, 1, (*image.shape[:2], 1)))


ADDITIONS: dict[str, Degradation] = {
    "frame": frame, "letterbox": letterbox, "page": page, "cut-out": cut_out, "turned": turned,
    "rounded corners": rounded_corners, "film": film, "instant print": instant_print, "collage": collage,
    "seamless collage": seamless_collage, "screenshot": screenshot,
    "grid": grid, "lines": lines, "boxes": boxes, "circles": circles, "ruler": ruler, "date": date,
    "watermark": watermark, "subtitles": subtitles, "sticker": sticker, "code": code,
    "picture in picture": picture_in_picture, "scanlines": scanlines,
    "gaussian noise": gaussian_noise, "shot noise": shot_noise, "film grain": film_grain,
    "salt and pepper": salt_and_pepper, "dither": dither, "poor JPEG": poor_jpeg, "sharpened": sharpened,
    "mosaic": mosaic, "panorama": panorama, "strip": strip, "dusk": dusk, "fog": fog,
}  # fmt: skip


def _bordered(image: Image, widths: list[int] | tuple[int, ...], colour: Colour) -> Image:
    """Return `image` inside a plain border; widths are those of the top, bottom, left and right."""
    top, bottom, left, right = widths
    framed = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=colour)
    return np.asarray(framed, np.uint8)


def _colour(rng: np.random.Generator) -> Colour:
    """Return white, black, or any colour, each with a probability of a third."""
    choice = rng.integers(3)
    if choice < 2:
        return (255, 255, 255) if choice else (0, 0, 0)
    return _shade(rng, 0, 256)


def _shade(rng: np.random.Generator, low: int, high: int) -> Colour:
    """Return a colour whose channels are at least `low` and below `high`."""
    red, green, blue = (int(value) for value in rng.integers(low, high, 3))
    return red, green, blue


def _point(image: Image, rng: np.random.Generator) -> tuple[int, int]:
    """Return a random point (x, y) in the image."""
    return int(rng.integers(image.shape[1])), int(rng.integers(image.shape[0]))


def _rounded(height: int, width: int, radius: int) -> Image:
    """Return a mask of 255 inside a rectangle with round corners, oversampled four times."""
    large = np.zeros((4 * height, 4 * width), np.uint8)
    reach = 4 * max(radius, 1)
    cv2.rectangle(large, (reach, 0), (4 * width - reach, 4 * height), 255, -1)
    cv2.rectangle(large, (0, reach), (4 * width, 4 * height - reach), 255, -1)
    for x in (reach, 4 * width - reach - 1):
        for y in (reach, 4 * height - reach - 1):
            cv2.circle(large, (x, y), reach, 255, -1)
    return np.asarray(cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _bayer(side: int) -> NDArray[np.float64]:
    """Return the thresholds of ordered dither, 0 to 1 (Bayer 1973)."""
    ranks = np.zeros((1, 1))
    while len(ranks) < side:
        ranks = np.block([[4 * ranks, 4 * ranks + 2], [4 * ranks + 3, 4 * ranks + 1]])
    return (ranks + 0.5) / side**2


def _clipped(image: NDArray[np.floating[Any]]) -> Image:
    return np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)
