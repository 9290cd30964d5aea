"""The words of a reading, without a server."""

import re

import numpy as np
import pytest

from imgcap.reading import Caption, Reading
from imgcap.web.presentation.rendering import (
    DOUBTFUL,
    LIKELY,
    Details,
    describe_look,
    doubt_of,
    render_map,
    render_reading,
)
from imgcap.web.texts import LANGUAGES

ENGLISH = LANGUAGES["en"]
READING = Reading("a.jpg", True, None, 30.0, 6.8, caption="A dog runs.", confidence=0.4)


@pytest.mark.parametrize(
    ("confidence", "doubt"),
    [
        (0, "low"),
        (DOUBTFUL - 0.01, "low"),
        (DOUBTFUL, "middle"),
        (LIKELY - 0.01, "middle"),
        (LIKELY, "high"),
        (1, "high"),
    ],
)
def test_doubt_is_invited_where_it_is_due(confidence, doubt):
    assert doubt_of(confidence) == doubt


def test_a_doubtful_caption_says_so_beside_the_number():
    page = render_reading(ENGLISH, READING, details=Details(entry=3, length="short", checked=0.041, described=0.62))
    assert "40% sure: may well be wrong." in page
    assert "short length, 3 words" in page
    assert "checked in 0.04 s, described in 0.62 s" in page
    assert 'data-entry="3"' in page


def test_what_comes_from_outside_is_escaped():
    page = render_reading(ENGLISH, Reading("a.jpg", True, None, 30.0, 6.8, caption="<b>A dog.</b>"), "<i>no</i>")
    assert "<b>" not in page
    assert "<i>" not in page


def test_an_error_is_shown_and_announced_in_the_readers_language():
    page = render_reading(LANGUAGES["de"], error="The file is empty: choose a picture.")
    assert page.count("Die Datei ist leer") == 2
    assert "The file" not in page


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_number_that_is_shown_is_in_the_readers_language(language):
    others = (Caption("a cat sleeps", 0.25),)
    reading = Reading("a", True, None, 30.25, 6.8125, caption="A dog runs.", confidence=0.4, alternatives=others)
    page = render_reading(LANGUAGES[language], reading, details=Details(checked=0.041, described=0.62))
    page += render_map(np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60, 3), np.uint8), 6.8125, LANGUAGES[language])
    shown = " ".join([re.sub(r"<[^>]*>", " ", page), *re.findall(r'aria-label="([^"]+)"', page)])
    numbers = re.findall(r"\d+[.,]\d+", shown)
    assert {"30.2", "6.81", "0.04", "0.62", "0.1"} == {number.replace(",", ".") for number in numbers}
    assert {"," in number for number in numbers} == {language != "en"}
    assert ("40%" in shown, "40\u00a0%" in shown) == (language == "en", language != "en")


def test_an_empty_page_offers_examples_and_a_busy_one_does_not():
    assert "data-imgcap-example" in render_reading(ENGLISH)
    assert "data-imgcap-example" not in render_reading(ENGLISH, step="opening")
    assert "data-imgcap-example" in render_reading(ENGLISH, error="The file is empty: choose a picture.")


@pytest.mark.parametrize(
    ("row", "column", "place"),
    [(0, 0, "top_left"), (3, 3, "middle"), (6, 3, "bottom"), (3, 6, "right"), (0, 6, "top_right")],
)
def test_where_the_model_looked_is_said_in_words_too(row, column, place):
    weights = np.zeros((7, 7), np.float32)
    weights[row, column] = 0.5
    weights += 0.5 / 49
    look = describe_look("dog", weights.ravel())
    assert (look.word, look.place) == ("dog", place)
    assert len(look.cells) == 2 * 49
    assert look.cells[2 * (7 * row + column) :][:2] == "ff"
    assert f"look.{look.place}" in ENGLISH.messages


def test_the_map_is_beside_the_photo_at_the_same_size():
    page = render_map(np.zeros((90, 120, 3), np.uint8), np.zeros((60, 80, 3), np.uint8), 6.8, ENGLISH)
    assert page.count("data:image/jpeg;base64,") == 2
    assert 'type="range"' in page
    assert "threshold 6.80" in page
