"""Which part of an image is a photograph."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgcap.blur.content import (
    LONGER_SIDE,
    SHORTER_SIDE,
    drawn,
    parts,
    photographs,
    whole_grey,
    without_blocks,
    without_points,
)


def textured(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Soft random blots, with no plain row or column and no peak among its grey levels."""
    rng = np.random.default_rng(seed)
    blots = cv2.GaussianBlur(rng.normal(0, 1, (height, width)), (0, 0), 3)
    return np.clip(128 + 30 * blots / blots.std(), 1, 254).astype(np.uint8)


@given(st.lists(st.integers(0, 90), min_size=4, max_size=4), st.integers(0, 255))
@settings(max_examples=40, deadline=None)
def test_a_frame_is_cut_off_whatever_its_widths_and_colour(widths, colour):
    photo = textured(200, 300)
    top, _, left, _ = widths
    framed = cv2.copyMakeBorder(photo, *widths, cv2.BORDER_CONSTANT, value=colour)
    (found,) = photographs(framed)
    expected = np.array([top, top + 200, left, left + 300])
    assert np.abs(np.array(found.box) - expected).max() <= 1
    assert found.grey.shape == (found.box[1] - found.box[0], found.box[3] - found.box[2])


@pytest.mark.parametrize("factor", [2, 5])
def test_a_small_photograph_on_a_large_page_is_found_at_its_own_size(factor):
    photo = textured(375, 500)
    page = np.full((375 * factor, 500 * factor), 255, np.uint8)
    page[100:475, 60:560] = photo
    (found,) = photographs(page)
    top, bottom, left, right = found.box
    assert max(abs(top - 100), abs(bottom - 475), abs(left - 60), abs(right - 560)) <= 2 * factor
    assert np.array_equal(found.grey, page[top:bottom, left:right])


def test_a_collage_falls_into_its_photographs_and_words_do_not_count():
    photos = [textured(150, 200, seed) for seed in range(4)]
    sheet = np.full((380, 420), 30, np.uint8)
    for index, photo in enumerate(photos):
        top, left = 5 + 160 * (index // 2), 5 + 205 * (index % 2)
        sheet[top : top + 150, left : left + 200] = photo
    cv2.putText(sheet, "four photographs", (20, 360), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 230, 1, cv2.LINE_AA)
    assert sorted(parts(sheet)) == [
        (6 + 160 * row, 154 + 160 * row, 6 + 205 * column, 204 + 205 * column) for row in (0, 1) for column in (0, 1)
    ]


def test_a_page_of_text_is_not_cut_into_words():
    page = np.full((700, 500), 250, np.uint8)
    for line in range(40, 680, 20):
        cv2.putText(page, "the quick brown fox jumps", (30, line), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 20, 1, cv2.LINE_AA)
    ((top, bottom, left, right),) = parts(page)
    assert bottom - top > 600
    assert right - left > 200


def test_a_plain_picture_is_its_own_content():
    assert parts(np.full((30, 40), 7, np.uint8)) == [(0, 30, 0, 40)]


@pytest.mark.parametrize("shape", [(3000, 4000), (600, 500), (375, 3000), (4000, 400), (20, 30), (1, 900)])
def test_the_working_size_has_a_longer_or_a_shorter_side_of_its_own(shape):
    height, width = whole_grey(np.zeros(shape, np.uint8)).shape
    assert height <= shape[0]
    assert width <= shape[1]
    if (height, width) != shape:
        assert max(height, width) == LONGER_SIDE or min(height, width) == SHORTER_SIDE
        assert max(height, width) >= LONGER_SIDE
        assert min(height, width) <= SHORTER_SIDE or max(height, width) == LONGER_SIDE


def test_a_ribbon_takes_bounded_memory():
    assert whole_grey(np.zeros((600, 60_000), np.uint8)).size <= 4_010_000


def test_transparent_parts_do_not_count():
    photo = np.repeat(textured(200, 300)[..., None], 3, axis=2)
    opaque = np.zeros((200, 300), np.uint8)
    cv2.circle(opaque, (150, 100), 80, 255, -1)
    (found,) = photographs(np.dstack([photo, opaque]))
    top, bottom, left, right = found.box
    inside = cv2.erode(opaque, np.ones((9, 9)))[top:bottom, left:right]
    assert found.own[opaque[top:bottom, left:right] == 0].max(initial=0) == 0
    assert found.own[inside == 255].mean() > 0.95


@pytest.mark.parametrize("value", [0, 8, 250, 255])
@pytest.mark.parametrize("thick", [1, 3])
def test_lines_of_a_colour_that_is_rare_in_the_photograph_are_drawn(value, thick):
    photo = textured(375, 500)
    lined = photo.copy()
    cv2.line(lined, (20, 30), (480, 300), value, thick)
    cv2.rectangle(lined, (100, 60), (300, 300), value, thick)
    marked = drawn(lined)
    assert marked[lined != photo].mean() > 0.98
    assert marked.mean() < 0.5
    assert not drawn(photo).any()


def test_clipped_shadows_are_not_drawn():
    values = np.clip(np.random.default_rng(0).exponential(6, (300, 400)) - 2, 0, 255).astype(np.uint8)
    assert (values == 0).mean() > 0.2
    assert not drawn(values).any()


def test_points_are_taken_out_and_lines_are_not():
    photo = textured(200, 300)
    pointed = photo.copy()
    pointed[::9, ::9] = 255
    assert np.abs(without_points(pointed).astype(int) - photo).max() < 40
    lined = photo.copy()
    lined[100] = 255
    assert np.array_equal(without_points(lined), lined)


@pytest.mark.parametrize("side", [3, 4, 7, 16, 30])
def test_the_blocks_of_a_mosaic_are_smoothed_over(side):
    photo = textured(360, 480)
    small = cv2.resize(photo, (480 // side, 360 // side), interpolation=cv2.INTER_AREA)
    mosaic = cv2.resize(small, (480, 360), interpolation=cv2.INTER_NEAREST)
    smooth = without_blocks(mosaic)
    assert cv2.Laplacian(smooth, cv2.CV_32F).var() < 0.2 * cv2.Laplacian(mosaic, cv2.CV_32F).var()
    assert np.array_equal(without_blocks(photo), photo)
