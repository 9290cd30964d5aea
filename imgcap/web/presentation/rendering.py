"""Render the parts that tabs and pages share: the bar, a reading, a map of sharpness, in the reader's language."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from imgcap.accounts.history import MAX_CAPTION
from imgcap.blur.sharpness import format_variance
from imgcap.reading import Length, Reading, format_confidence
from imgcap.web.presentation.gauge import badge_html, gauge_html
from imgcap.web.texts import LANGUAGES, Texts

MOMENT = "%Y-%m-%d %H:%M UTC"
"""Format of times, for readers of every language."""
TEMPLATES = Path(__file__).parents[1] / "templates"
DOUBTFUL, LIKELY = 0.5, 0.75
"""Confidences below which the page says that a caption may well be wrong, or may be wrong."""
OFF_CENTRE = 0.43
"""Share of a photo's side; a place closer to an edge than this gets that edge's name."""
Doubt = Literal["low", "middle", "high"]
Step = Literal["opening", "writing", "more", "done"]
"""The photo is not measured yet; its caption is being written; only alternatives are missing; all is complete."""


def doubt_of(confidence: float) -> Doubt:
    """Return the key of the words for a confidence."""
    if confidence < DOUBTFUL:
        return "low"
    return "middle" if confidence < LIKELY else "high"


templates = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
templates.globals |= {
    "badge": badge_html,
    "gauge": gauge_html,
    "format_variance": format_variance,
    "percent": format_confidence,
    "doubt_of": doubt_of,
    "languages": LANGUAGES,
}
templates.filters["moment"] = lambda moment: moment.strftime(MOMENT)


def render(template: str, texts: Texts, /, **shown: object) -> Markup:
    """Return a template's HTML; in the template, `t("key")` is a text as HTML, and `texts` holds all texts."""
    return Markup(templates.get_template(template).render(shown, t=texts.html, texts=texts))  # noqa: S704  escaped there


def render_bar(user: str, texts: Texts) -> Markup:
    """Return the bar at the top of Gradio's page."""
    return render("nav.html", texts, root=".", here="photo", place="/", user=user)


def render_map(photo: NDArray[np.uint8], overlay: NDArray[np.uint8], threshold: float, texts: Texts) -> Markup:
    """Return HTML that compares a photo with its map of sharpness, both RGB, in any sizes with the same aspect ratio.

    The HTML contains both images, so that no file is served.
    """
    height, width = overlay.shape[:2]
    small = np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.LANCZOS))
    return render(
        "map.html", texts, photo=_data_url(small), overlay=_data_url(overlay), threshold=threshold,
    )  # fmt: skip


def _data_url(picture: NDArray[np.uint8]) -> str:
    """Return an RGB image (height, width, 3) as a `data:` URL of a JPEG."""
    jpeg = io.BytesIO()
    Image.fromarray(picture).save(jpeg, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"


@dataclass(frozen=True)
class Look:
    """The model's attention at a word.

    cells: the cells of the grid, row by row, two hexadecimal digits each; ff is the highest attention.
    place: the part of the photo at the centre of the attention: "top_left", "middle" and so on.
    """

    word: str
    cells: str
    place: str


def describe_look(word: str, weights: NDArray[np.float32]) -> Look:
    """Return the Look of a word from the weights (P,) of a square grid, row by row."""
    side = round(len(weights) ** 0.5)
    grid = weights.reshape(side, side) / max(float(weights.sum()), 1e-9)
    centres = (np.arange(side) + 0.5) / side
    down, across = float(grid.sum(1) @ centres), float(grid.sum(0) @ centres)
    names = _third(down, ("top", "", "bottom")), _third(across, ("left", "", "right"))
    shades = np.rint(weights / max(float(weights.max()), 1e-9) * 255).astype(np.uint8)
    return Look(word, bytes(shades).hex(), "_".join(filter(None, names)) or "middle")


def _third(place: float, names: tuple[str, str, str]) -> str:
    """Return the name of the part of a side, 0-1, that contains a place. Centres of attention lie near the middle."""
    return names[0] if place < OFF_CENTRE else names[2] if place > 1 - OFF_CENTRE else names[1]


@dataclass(frozen=True)
class Details:
    """What the page shows in addition to a reading.

    entry: the reading's id in the history, once it is stored there.
    length: length of the caption that was asked for.
    looks: the model's attention at each word of the caption.
    checked, described: seconds that the check and the caption took.
    """

    entry: int | None = None
    length: Length | None = None
    looks: Sequence[Look] = ()
    checked: float | None = None
    described: float | None = None


NO_DETAILS = Details()


def render_reading(
    texts: Texts, reading: Reading | None = None, error: str = "", step: Step = "done", details: Details = NO_DETAILS
) -> Markup:
    """Return the page's HTML about a photo, or its HTML before a photo is given; `error` is an error's sentence."""
    error = texts.sentence(error)
    advice = texts(f"reading.advice.{reading.reason or 'valid'}") if reading else ""
    whole = reading if step != "writing" else None
    warning = _warning(texts, whole) if whole else ""
    announced = _announce(texts, whole, advice, warning) if whole else ""
    is_empty = step == "done" and not (reading or error)
    return render(
        "reading.html", texts, reading=reading, error=error, step="empty" if is_empty else step,
        advice=advice, warning=warning, entry=details.entry, looks=details.looks, max_caption=MAX_CAPTION,
        facts=_facts(texts, reading, details) if reading else [],
        announcement=" ".join(filter(None, [error, announced])),
    )  # fmt: skip


def _facts(texts: Texts, reading: Reading, details: Details) -> list[str]:
    """Return the small print below a reading."""
    facts = []
    if reading.caption and details.length:
        words = texts.count("reading.words", len(reading.caption.split()))
        facts.append(texts("reading.length", length=texts(f"caption.length.{details.length}"), words=words))
    if details.checked is not None and details.described is not None:
        checked, described = (texts.number(f"{seconds:.2f}") for seconds in (details.checked, details.described))
        facts.append(texts("reading.times", checked=checked, described=described))
    elif details.checked is not None:
        facts.append(texts("reading.time_checked", checked=texts.number(f"{details.checked:.2f}")))
    return facts


def _announce(texts: Texts, reading: Reading, advice: str, warning: str) -> str:
    """Return the text that a screen reader announces once."""
    verdict = texts("reading.announce.valid") if reading.valid else texts("reading.announce.invalid", advice=advice)
    return f"{reading.caption or verdict} {warning}".rstrip()


def _warning(texts: Texts, reading: Reading) -> str:
    if reading.warning is None:
        return ""
    return texts("reading.unfamiliar.captioned" if reading.caption else "reading.unfamiliar.refused")
