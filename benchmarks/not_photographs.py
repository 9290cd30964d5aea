"""Draw images that are not photographs, for measuring the warning about unfamiliar images.

Each kind is a function of a random generator and returns an RGB image; `KINDS` names them. Sizes, colours, font sizes
and layouts are random. Nothing is fitted on these images, since the captioner's bounds come from photographs alone.
"""

import io
from collections.abc import Callable

import cv2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
WORDS = [
    "total", "invoice", "date", "order", "amount", "price", "page", "figure", "table", "report", "account", "number",
    "street", "city", "name", "email", "phone", "tax", "item", "quantity", "the", "of", "and", "to", "in", "for",
    "with", "from", "by", "value", "mean", "result", "method", "data", "model", "section", "summary", "balance",
    "due", "paid", "cash", "card", "change", "thank", "you", "please", "call", "visit", "open", "close", "file",
    "edit", "view", "help", "search", "settings", "home", "message",
]  # fmt: skip
INK: Colour = (20, 20, 24)


def _size(rng: Generator) -> tuple[int, int]:
    long = int(rng.integers(400, 1000))
    short = int(long * rng.uniform(0.55, 1.0))
    return (long, short) if rng.random() < 0.6 else (short, long)


def _colour(rng: Generator, low: int = 0, high: int = 256) -> Colour:
    red, green, blue = (int(value) for value in rng.integers(low, high, 3))
    return red, green, blue


def _paper(rng: Generator) -> Colour:
    grey = int(rng.integers(225, 256))
    return grey, grey, max(grey - int(rng.integers(0, 18)), 0)


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _words(rng: Generator, count: int) -> str:
    return " ".join(rng.choice(WORDS, count))


def _blank(rng: Generator, ground: Colour | None = None) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("RGB", _size(rng), ground if ground is not None else _paper(rng))
    return picture, ImageDraw.Draw(picture)


def _figure(rng: Generator) -> tuple[Figure, plt.Axes]:
    width, height = _size(rng)
    figure, axes = plt.subplots(figsize=(width / 100, height / 100), dpi=100)
    return figure, axes


def _rendered(figure: Figure) -> Image.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return Image.open(buffer).convert("RGB")


def chart(rng: Generator) -> Image.Image:
    """Draw bars, lines, points or a pie, with a title and axes."""
    style = rng.choice(["default", "ggplot", "dark_background", "seaborn-v0_8-whitegrid", "bmh"])
    with plt.style.context(str(style)):
        figure, axes = _figure(rng)
        count = int(rng.integers(3, 12))
        kind = int(rng.integers(4))
        if kind == 0:
            axes.bar(rng.choice(WORDS, count, replace=False), rng.random(count), color=rng.random((count, 3)))
            axes.tick_params(axis="x", rotation=45)
        elif kind == 1:
            for _ in range(int(rng.integers(1, 5))):
                axes.plot(rng.normal(size=50).cumsum(), label=_words(rng, 1))
            axes.legend()
        elif kind == 2:
            axes.scatter(rng.normal(size=200), rng.normal(size=200), s=rng.random(200) * 60, c=rng.random(200))
        else:
            axes.pie(rng.random(count) + 0.1, labels=list(rng.choice(WORDS, count)))
        axes.set_title(_words(rng, int(rng.integers(2, 6))))
        return _rendered(figure)


def heat_map(rng: Generator) -> Image.Image:
    """Draw a matrix in false colours with a colour bar."""
    figure, axes = _figure(rng)
    side = int(rng.integers(5, 40))
    colours = str(rng.choice(["viridis", "magma", "coolwarm", "Blues", "jet"]))
    figure.colorbar(axes.imshow(rng.random((side, side)), cmap=colours, aspect="auto"))
    axes.set_xlabel(_words(rng, 2))
    return _rendered(figure)


def page(rng: Generator) -> Image.Image:
    """Draw a page of text with a heading."""
    picture, draw = _blank(rng)
    width, height = picture.size
    size = int(rng.integers(10, 22))
    margin = int(width * rng.uniform(0.04, 0.12))
    draw.text((margin, margin // 2 + 4), _words(rng, 4).title(), INK, _font(size * 1.6))
    y = margin + 2.4 * size
    while y < height - margin:
        line = _words(rng, 40)[: int((width - 2 * margin) / size * 1.85)]
        if rng.random() > 0.12:
            draw.text((margin, y), line, INK, _font(size))
        y += 1.4 * size
    return picture


def receipt(rng: Generator) -> Image.Image:
    """Draw a narrow till receipt on a darker ground."""
    width, height = sorted(_size(rng))
    picture = Image.new("RGB", (width, height), _colour(rng, 40, 180))
    draw = ImageDraw.Draw(picture)
    left, right = int(width * rng.uniform(0.05, 0.2)), int(width * rng.uniform(0.8, 0.95))
    draw.rectangle((left, int(height * 0.03), right, int(height * 0.97)), _paper(rng))
    size = max(int((right - left) / rng.uniform(18, 26)), 9)
    y = height * 0.06
    while y < height * 0.92:
        draw.text((left + size, y), _words(rng, 2).upper(), INK, _font(size))
        draw.text((right - 4 * size, y), f"{rng.uniform(0.5, 99):.2f}", INK, _font(size))
        y += 1.5 * size
    return picture


def screenshot(rng: Generator) -> Image.Image:
    """Draw a window with a bar, a side menu, buttons and rows of text, light or dark."""
    dark = rng.random() < 0.4
    ground: Colour = (30, 32, 38) if dark else (248, 248, 250)
    ink: Colour = (225, 225, 230) if dark else (35, 35, 40)
    accent = _colour(rng, 40, 220)
    picture, draw = _blank(rng, ground)
    width, height = picture.size
    bar, menu = int(rng.integers(28, 60)), int(width * rng.uniform(0.12, 0.3))
    draw.rectangle((0, 0, width, bar), accent if rng.random() < 0.5 else _colour(rng, 60, 200))
    draw.text((12, bar // 4), _words(rng, 3).title(), (255, 255, 255), _font(bar // 2))
    draw.rectangle((0, bar, menu, height), tuple(min(value + 12, 255) for value in ground))
    for row in range(bar + 14, height - 20, int(rng.integers(24, 40))):
        draw.text((10, row), _words(rng, 1), ink, _font(13))
    for row in range(bar + 20, height - 50, int(rng.integers(40, 90))):
        draw.ellipse((menu + 14, row, menu + 40, row + 26), _colour(rng, 60, 230))
        draw.text((menu + 52, row), _words(rng, int(rng.integers(3, 9))), ink, _font(14))
        draw.line(
            (menu + 10, row + 34, width - 12, row + 34), tuple((a + b) // 2 for a, b in zip(ground, ink, strict=True))
        )
        if rng.random() < 0.3:
            draw.rounded_rectangle((width - 110, row, width - 24, row + 26), 6, accent)
            draw.text((width - 96, row + 5), _words(rng, 1), (255, 255, 255), _font(13))
    return picture


def code(rng: Generator) -> Image.Image:
    """Draw source text in an editor, in several colours."""
    ground: Colour = (39, 40, 34) if rng.random() < 0.7 else (255, 255, 255)
    picture, draw = _blank(rng, ground)
    width, height = picture.size
    size = int(rng.integers(12, 20))
    palette = [_colour(rng, 110, 256) if ground[0] < 128 else _colour(rng, 0, 140) for _ in range(4)]
    for number, y in enumerate(range(10, height - size, int(1.4 * size)), 1):
        draw.text((6, y), str(number), (130, 130, 130), _font(size))
        x = 50.0 + size * 2 * int(rng.integers(0, 4))
        for word in _words(rng, int(rng.integers(0, 7))).split():
            draw.text((x, y), word, palette[int(rng.integers(4))], _font(size))
            x += size * 0.6 * (len(word) + 1)
            if x > width:
                break
    return picture


def table(rng: Generator) -> Image.Image:
    """Draw a spreadsheet: a grid of cells with numbers and a heading row."""
    picture, draw = _blank(rng, (255, 255, 255))
    width, height = picture.size
    step, tall = int(rng.integers(60, 130)), int(rng.integers(20, 36))
    draw.rectangle((0, 0, width, tall), _colour(rng, 120, 240))
    for x in range(0, width, step):
        draw.line((x, 0, x, height), (190, 190, 190))
        for y in range(0, height, tall):
            text = _words(rng, 1) if y == 0 or x == 0 else f"{rng.normal() * 100:.1f}"
            if rng.random() < 0.85:
                draw.text((x + 5, y + 3), text, INK, _font(tall * 0.55))
    for y in range(0, height, tall):
        draw.line((0, y, width, y), (190, 190, 190))
    return picture


def line_drawing(rng: Generator) -> Image.Image:
    """Draw strokes of one pen on paper: curves, stick figures and boxes."""
    picture, draw = _blank(rng)
    width, height = picture.size
    pen = int(rng.integers(2, 6))
    ink = INK if rng.random() < 0.7 else _colour(rng, 0, 140)
    for _ in range(int(rng.integers(4, 16))):
        x, y = rng.uniform(0.1, 0.9, 2) * (width, height)
        scale = rng.uniform(0.05, 0.25) * min(width, height)
        shape = int(rng.integers(4))
        if shape == 0:
            draw.rectangle((x - scale, y - scale, x + scale, y + scale / 2), outline=ink, width=pen)
        elif shape == 1:
            draw.ellipse((x - scale, y - scale, x + scale, y + scale), outline=ink, width=pen)
        elif shape == 2:
            angles = np.linspace(0, rng.uniform(3, 12), 60)
            spread = scale * (1 + 0.3 * rng.normal(size=60).cumsum() / 8)
            points = np.stack((x + spread * np.cos(angles), y + spread * np.sin(angles)), 1)
            draw.line([(float(a), float(b)) for a, b in points], ink, pen, joint="curve")
        else:  # a stick figure
            draw.ellipse((x - scale / 4, y - scale, x + scale / 4, y - scale / 2), outline=ink, width=pen)
            draw.line((x, y - scale / 2, x, y + scale / 3), ink, pen)
            draw.line((x - scale / 2, y - scale / 6, x + scale / 2, y - scale / 6), ink, pen)
            draw.line((x - scale / 3, y + scale, x, y + scale / 3, x + scale / 3, y + scale), ink, pen)
    return picture


def cartoon(rng: Generator) -> Image.Image:
    """Draw flat shapes: sky, hills, sun, houses and trees, with or without outlines."""
    picture, draw = _blank(rng, _colour(rng, 130, 250))
    width, height = picture.size
    outline = INK if rng.random() < 0.5 else None
    for _ in range(int(rng.integers(1, 4))):
        x, wide, top = rng.uniform(0, width), rng.uniform(0.3, 0.9) * width, rng.uniform(0.45, 0.7) * height
        draw.ellipse((x - wide, top, x + wide, 2 * height), _colour(rng, 40, 220), outline, 3)
    radius = rng.uniform(0.04, 0.1) * width
    x, y = rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.25) * height
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), (250, 220, 60), outline, 3)
    for _ in range(int(rng.integers(2, 7))):
        x, y, side = rng.uniform(0, width), rng.uniform(0.55, 0.85) * height, rng.uniform(0.05, 0.14) * width
        if rng.random() < 0.5:
            draw.rectangle((x, y, x + side, y + side), _colour(rng), outline, 3)
            roof = ((x - side / 5, y), (x + side / 2, y - side * 0.7), (x + side * 1.2, y))
            draw.polygon(roof, _colour(rng), outline, 3)
        else:
            draw.rectangle((x + side * 0.4, y, x + side * 0.6, y + side), (110, 70, 40))
            draw.ellipse((x, y - side, x + side, y + side / 4), _colour(rng, 30, 180), outline, 3)
    return picture


def flat(rng: Generator) -> Image.Image:
    """Draw one colour, or a gradient from one colour to another."""
    width, height = _size(rng)
    first, second = np.array(_colour(rng)), np.array(_colour(rng))
    if rng.random() < 0.4:
        second = first
    share = np.linspace(0, 1, height)[:, None, None] * np.ones((1, width, 1))
    if rng.random() < 0.5:
        share = np.linspace(0, 1, width)[None, :, None] * np.ones((height, 1, 1))
    return Image.fromarray((first + share * (second - first)).astype(np.uint8))


def noise(rng: Generator) -> Image.Image:
    """Draw random pixels, fine or coarse, grey or coloured."""
    width, height = _size(rng)
    grain = int(rng.integers(1, 12))
    shape = (height // grain + 1, width // grain + 1, 3 if rng.random() < 0.6 else 1)
    cells = rng.integers(0, 256, shape, dtype=np.uint8)
    cells = np.broadcast_to(cells, (*shape[:2], 3))
    return Image.fromarray(np.ascontiguousarray(cells)).resize((width, height), Image.Resampling.NEAREST)


def pattern(rng: Generator) -> Image.Image:
    """Draw stripes, checks or dots."""
    width, height = _size(rng)
    y, x = np.mgrid[:height, :width].astype(float)
    angle, period = rng.uniform(0, np.pi), rng.uniform(10, 80)
    across, along = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    one, other = np.sin(2 * np.pi * across / period) > 0, np.sin(2 * np.pi * along / period) > 0
    dots = (
        np.hypot((across + period / 2) % period - period / 2, (along + period / 2) % period - period / 2) < period / 4
    )
    mask = (one, one ^ other, dots)[int(rng.integers(3))]
    return Image.fromarray(np.where(mask[..., None], _colour(rng), _colour(rng)).astype(np.uint8))


def barcode(rng: Generator) -> Image.Image:
    """Draw a square or striped code with a white margin."""
    count = int(rng.integers(21, 58))
    if rng.random() < 0.6:
        cells = (rng.random((count, count)) < 0.5).astype(np.uint8)
        finder = np.pad(np.pad(np.ones((3, 3), np.uint8), 1), 1, constant_values=1)
        for rows, columns in (
            (slice(0, 7), slice(0, 7)),
            (slice(0, 7), slice(-7, None)),
            (slice(-7, None), slice(0, 7)),
        ):
            cells[rows, columns] = finder
    else:
        cells = np.broadcast_to(rng.random((1, count)) < 0.5, (count // 2, count)).astype(np.uint8)
    cells = np.pad(cells, int(rng.integers(2, 8)))
    scale = max(500 // cells.shape[1], 1)
    return Image.fromarray(255 - 235 * np.kron(cells, np.ones((scale, scale), np.uint8))).convert("RGB")


def plan(rng: Generator) -> Image.Image:
    """Draw a town plan: blocks, streets, a river and names."""
    picture, draw = _blank(rng, (240, 238, 230))
    width, height = picture.size
    for _ in range(int(rng.integers(10, 40))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        wide, tall = rng.uniform(20, 160, 2)
        fill = (200, 225, 190) if rng.random() < 0.3 else (222, 216, 206)
        draw.rectangle((x, y, x + wide, y + tall), fill)
    bends = rng.uniform(2, 6)
    river = [(float(x), height * (0.5 + 0.3 * np.sin(x / width * bends))) for x in range(0, width, 10)]
    draw.line(river, (160, 200, 235), int(rng.integers(10, 40)), joint="curve")
    for _ in range(int(rng.integers(8, 24))):
        ends = [
            (float(rng.uniform(0, width)), float(rng.choice([0, height]))),
            (float(rng.choice([0, width])), float(rng.uniform(0, height))),
        ]
        draw.line(ends, (255, 255, 255) if rng.random() < 0.7 else (250, 205, 120), int(rng.integers(4, 14)))
    for _ in range(int(rng.integers(5, 20))):
        place = (float(rng.uniform(0, width * 0.9)), float(rng.uniform(0, height)))
        draw.text(place, _words(rng, 1).title(), (80, 80, 80), _font(int(rng.integers(10, 20))))
    return picture


def x_ray(rng: Generator) -> Image.Image:
    """Draw a grey chest on black: two dark lungs, ribs, a spine, soft edges and grain."""
    width, height = _size(rng)
    picture = Image.new("L", (width, height), 8)
    draw = ImageDraw.Draw(picture)
    centre = width / 2
    draw.rounded_rectangle(
        (width * 0.1, height * 0.08, width * 0.9, height * 1.1), width * 0.2, int(rng.integers(110, 170))
    )
    for side in (-1, 1):
        x = centre + side * width * 0.19
        draw.ellipse((x - width * 0.14, height * 0.18, x + width * 0.14, height * 0.8), int(rng.integers(35, 70)))
        for rib in range(int(rng.integers(6, 11))):
            y = height * (0.18 + 0.07 * rib)
            box = (x - width * 0.2, y - height * 0.05, x + width * 0.2, y + height * 0.14)
            draw.arc(box, 180, 360, int(rng.integers(120, 180)), max(int(height * 0.014), 2))
    draw.rectangle((centre - width * 0.04, 0, centre + width * 0.04, height), int(rng.integers(170, 220)))
    soft = cv2.GaussianBlur(np.asarray(picture, np.float32), (0, 0), width * 0.006)
    soft += rng.normal(0, rng.uniform(2, 7), soft.shape)
    return Image.fromarray(np.clip(soft, 0, 255).astype(np.uint8)).convert("RGB")


KINDS: dict[str, Callable[[Generator], Image.Image]] = {
    "charts": chart, "heat maps": heat_map, "pages of text": page, "receipts": receipt, "screenshots": screenshot,
    "source code": code, "tables": table, "line drawings": line_drawing, "cartoons": cartoon, "flat colour": flat,
    "noise": noise, "patterns": pattern, "bar codes": barcode, "maps": plan, "X-rays": x_ray,
}  # fmt: skip
