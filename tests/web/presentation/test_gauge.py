import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgcap.blur.sharpness import format_variance
from imgcap.web.presentation.gauge import CSS, badge_html, gauge_html

positive = st.floats(0, 1e12, allow_nan=False)


def element(markup: str) -> ET.Element:
    return ET.fromstring(markup)


def words(markup: str) -> str:
    return " ".join("".join(element(markup).itertext()).split())


@pytest.mark.parametrize(
    ("valid", "reason", "expected"),
    [
        (True, None, "✓ Valid"),
        (False, "blurred", "✗ Invalid: blurred"),
        (False, "low_detail", "✗ Invalid: too little detail to judge"),
        (False, None, "✗ Invalid"),
    ],
)
def test_badge_says_the_verdict_in_words_and_a_mark(valid, reason, expected):
    assert words(badge_html(valid, reason)) == expected


def test_the_mark_is_not_read_aloud():
    mark = element(badge_html(False, "blurred")).find("span")
    assert mark is not None
    assert mark.text == "✗"
    assert mark.get("aria-hidden") == "true"


@settings(deadline=None)
@given(positive, positive)
def test_gauge_is_one_labelled_image_whatever_the_numbers(variance, threshold):
    gauge = element(gauge_html(variance, threshold))
    assert gauge.get("role") == "img"
    verdict = "at or above" if variance >= threshold else "below"
    assert verdict in gauge.get("aria-label", "")
    assert f"threshold {format_variance(threshold)}" in "".join(gauge.itertext())
    assert f"Laplacian variance {format_variance(variance)}" in "".join(gauge.itertext())


@settings(deadline=None)
@given(positive, positive)
def test_shape_tells_the_verdict_without_colour(variance, threshold):
    gauge = element(gauge_html(variance, threshold))
    assert len(gauge.findall("circle")) == (variance >= threshold)
    assert len(gauge.findall("polygon")) == (variance < threshold)


@settings(deadline=None)
@given(positive, positive)
def test_nothing_is_drawn_outside_the_picture(variance, threshold):
    numbers = re.findall(r'\b(?:x|x1|x2|cx)="([^"]+)"', gauge_html(variance, threshold))
    assert all(0 <= float(x) <= 480 for x in numbers)


@settings(deadline=None)
@given(positive, positive)
def test_texts_fit_into_the_drawing_even_in_the_larger_font_of_phones(variance, threshold):
    for text in element(gauge_html(variance, threshold)).iter("text"):
        width = 9 * len(text.text or "")  # of 17 px system-ui, in the units of the drawing
        share = {"start": 0.0, "middle": 0.5, "end": 1.0}[text.get("text-anchor", "")]
        left = float(text.get("x", "nan")) - share * width
        assert left >= 0
        assert left + width <= 480


def test_marks_stand_in_the_order_of_their_values():
    def x_of(variance: float) -> float:
        circle = element(gauge_html(variance, 0)).find("circle")
        assert circle is not None
        return float(circle.get("cx", "nan"))

    assert x_of(1) < x_of(10) < x_of(100) < x_of(5000)
    assert x_of(10) - x_of(1) == pytest.approx(x_of(100) - x_of(10), abs=0.11)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
def test_impossible_numbers_are_refused(bad):
    with pytest.raises(ValueError, match="variance must be"):
        gauge_html(bad, 10)
    with pytest.raises(ValueError, match="threshold must be"):
        gauge_html(10, bad)


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("state", ["valid", "invalid"])
def test_badge_text_reaches_the_contrast_that_wcag_aa_asks(state):
    match = re.search(rf"badge-{state} {{background: (#\w{{6}})}}", CSS)
    assert match is not None
    assert 1.05 / (_luminance(match[1]) + 0.05) >= 4.5
