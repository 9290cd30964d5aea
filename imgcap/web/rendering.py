"""Render what every tab and page shows: the bar, a reading, a map of sharpness. Each is given the reader's texts."""

import base64
import io
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from imgcap.blur.sharpness import format_variance
from imgcap.reading import Reading, format_confidence
from imgcap.web.gauge import badge_html, gauge_html
from imgcap.web.texts import LANGUAGES, Texts

MOMENT = "%Y-%m-%d %H:%M UTC"
"""A time for readers of every language."""
HERE = Path(__file__).parent

templates = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined)
templates.globals |= {
    "badge": badge_html,
    "gauge": gauge_html,
    "format_variance": format_variance,
    "percent": format_confidence,
    "languages": LANGUAGES,
}
templates.filters["moment"] = lambda moment: moment.strftime(MOMENT)


def render(template: str, texts: Texts, /, **shown: object) -> Markup:
    """Return a template's HTML; in it `t("key")` is a text as HTML, and `texts` are all of them."""
    return Markup(templates.get_template(template).render(shown, t=texts.html, texts=texts))  # noqa: S704  escaped there


def render_bar(user: str, texts: Texts) -> Markup:
    """Return the bar at the top of Gradio's page."""
    return render("nav.html", texts, root=".", here="photo", place="/", user=user)


def render_map(overlay: NDArray[np.uint8], texts: Texts) -> Markup:
    """Return an RGB picture (height, width, 3) as HTML that holds the picture itself, so that no file is served."""
    return render("map.html", texts, source=data_url(overlay))


def data_url(picture: NDArray[np.uint8]) -> str:
    """Return an RGB picture (height, width, 3) as a `data:` URL that holds it as PNG."""
    png = io.BytesIO()
    Image.fromarray(picture).save(png, "PNG")
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"


def render_reading(texts: Texts, reading: Reading | None = None, error: str = "", step: str = "done") -> Markup:
    """Return what the page says about a photo; `step` is "writing" while the caption is being written."""
    advice = texts(f"reading.advice.{reading.reason or 'valid'}") if reading else ""
    warning = _warning(texts, reading) if reading and step == "done" else ""
    announced = _announce(texts, reading, advice, warning) if reading and step == "done" else ""
    return render(
        "reading.html", texts, reading=reading, error=error, step=step, advice=advice, warning=warning,
        announcement=" ".join(filter(None, [error, announced])),
    )  # fmt: skip


def _announce(texts: Texts, reading: Reading, advice: str, warning: str) -> str:
    """Return what a screen reader announces once."""
    verdict = texts("reading.announce.valid") if reading.valid else texts("reading.announce.invalid", advice=advice)
    return f"{reading.caption or verdict} {warning}".rstrip()


def _warning(texts: Texts, reading: Reading) -> str:
    if reading.warning is None:
        return ""
    return texts("reading.unfamiliar.captioned" if reading.caption else "reading.unfamiliar.refused")
