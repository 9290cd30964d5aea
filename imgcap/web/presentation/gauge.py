"""Render the sharpness badge and gauge as accessible HTML, from numbers alone.

Nothing that a user typed reaches these strings. Shape and words show the verdict as well as colour: a valid reading is
a tick and a filled circle on the solid side of the scale, an invalid one a cross and a hollow diamond on the dashed
side. Blue and vermilion are distinct for every common colour vision (Okabe and Ito, "Color Universal Design", 2008),
and with `currentColor` the text follows the page's light or dark theme.
"""

from html import escape
from math import isfinite, log10
from typing import Literal

from imgcap.blur.sharpness import format_variance
from imgcap.reading import Reason
from imgcap.web.texts import ENGLISH, LANGUAGES, Texts

CSS = """
.imgcap-badge {display: inline-block; padding: .25em .75em; border-radius: 1em; color: #fff; font-weight: 600}
.imgcap-badge-valid {background: #0069a6}
.imgcap-badge-invalid {background: #a84300}
.imgcap-gauge {width: 100%; max-width: 30rem; height: auto; display: block; font: 13px system-ui, sans-serif}
@media (max-width: 52rem) {.imgcap-gauge {font-size: 17px}}
"""

_LOW, _HIGH = 0.1, 10_000.0  # the scale's ends; phone photographs lie between about 1 and 3000
_LEFT, _WIDTH, _RIGHT = 12.0, 456.0, 480.0
_HALF_CHARACTER = 4.8  # half the mean width of a character in the largest font, in the units of the drawing
_BLUE, _VERMILION = "#0072b2", "#d55e00"

_ENGLISH = LANGUAGES[ENGLISH]


def badge_html(valid: bool, reason: Reason | None, texts: Texts = _ENGLISH) -> str:
    """Return the verdict as a badge: a tick or a cross, words, and a colour, e.g. "✗ Invalid: blurred"."""
    state, mark = ("valid", "✓") if valid else ("invalid", "✗")
    text = texts("reading.valid") if valid else texts(f"reading.invalid.{reason}" if reason else "reading.invalid")
    return (
        f'<span class="imgcap-badge imgcap-badge-{state}"><span aria-hidden="true">{mark}</span> {escape(text)}</span>'
    )


def gauge_html(variance: float, threshold: float, texts: Texts = _ENGLISH) -> str:
    """Return the variance and its threshold on a logarithmic scale from 0.1 to 10 000, as one labelled SVG.

    Values beyond the scale are drawn at its ends; the label and the text show them in full.

    Raises:
        ValueError: a value is negative or not finite.
    """
    for name, value in (("variance", variance), ("threshold", threshold)):
        if not isfinite(value) or value < 0:
            raise ValueError(f"{name} must be a finite number of at least 0, got {value}")
    label = escape(_spoken(variance, threshold, texts), quote=True)
    return (
        f'<svg class="imgcap-gauge" viewBox="0 0 480 92" role="img" aria-label="{label}">'
        f"{_scale(_x(threshold), texts)}{_threshold_mark(threshold, texts)}"
        f"{_reading_mark(variance, variance >= threshold, texts)}</svg>"
    )


def _spoken(variance: float, threshold: float, texts: Texts) -> str:
    values = {"variance": _number(variance, texts), "threshold": _number(threshold, texts)}
    return texts("reading.above", **values) if variance >= threshold else texts("reading.below", **values)


def _number(variance: float, texts: Texts) -> str:
    return texts.number(format_variance(variance))


def _x(value: float) -> float:
    inside = min(max(value, _LOW), _HIGH)
    return _LEFT + _WIDTH * log10(inside / _LOW) / log10(_HIGH / _LOW)


def _scale(split: float, texts: Texts) -> str:
    ticks = "".join(
        f'<line x1="{_x(t):.1f}" y1="42" x2="{_x(t):.1f}" y2="50" stroke="currentColor"/>'
        + _text(_x(t), 68, texts.number(f"{t:g}"))
        for t in (0.1, 1, 10, 100, 1000, 10_000)
    )
    return (
        f'<line x1="{_LEFT}" y1="38" x2="{split:.1f}" y2="38" stroke="{_VERMILION}" stroke-width="4" '
        f'stroke-dasharray="6 5"/>'
        f'<line x1="{split:.1f}" y1="38" x2="{_LEFT + _WIDTH}" y2="38" stroke="{_BLUE}" stroke-width="8"/>{ticks}'
    )


def _threshold_mark(threshold: float, texts: Texts) -> str:
    x = _x(threshold)
    line = f'<line x1="{x:.1f}" y1="20" x2="{x:.1f}" y2="52" stroke="currentColor" stroke-width="2"/>'
    return line + _text(x, 14, texts("reading.threshold", threshold=_number(threshold, texts)))


def _reading_mark(variance: float, valid: bool, texts: Texts) -> str:
    x = _x(variance)
    label = _text(x, 86, texts("reading.variance", variance=_number(variance, texts)))
    if valid:
        return f'<circle cx="{x:.1f}" cy="38" r="9" fill="{_BLUE}" stroke="currentColor" stroke-width="2"/>{label}'
    diamond = f"{x:.1f},28 {x + 10:.1f},38 {x:.1f},48 {x - 10:.1f},38"
    return f'<polygon points="{diamond}" fill="none" stroke="{_VERMILION}" stroke-width="3"/>{label}'


def _text(x: float, y: float, text: str) -> str:
    half = _HALF_CHARACTER * len(text)
    anchor: Literal["start", "middle", "end"] = "start" if x < half else "end" if x > _RIGHT - half else "middle"
    return f'<text x="{x:.1f}" y="{y:g}" text-anchor="{anchor}" fill="currentColor">{escape(text)}</text>'
