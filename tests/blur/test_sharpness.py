import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from imgcap.blur.additions import ADDITIONS
from imgcap.blur.content import photographs, whole_grey
from imgcap.blur.degradations import disk, gaussian, jpeg, linear_motion, low_light, noise, shaken_motion, then
from imgcap.blur.sharpness import format_variance, measure, sharpness_overlay
from imgcap.errors import InputError
from imgcap.images.limits import ImageLimits
from imgcap.images.loading import ImageLoader
from imgcap.settings import Settings

read_file = ImageLoader(ImageLimits()).read_file

SAMPLES = Path(__file__).parents[1] / "samples"
THRESHOLD = Settings().blur_threshold
NAMES = ("astronaut.jpg", "camera.png", "chelsea.png", "coffee.jpg", "rocket.jpg")
RNG = np.random.default_rng(0)
BLURRED = {
    "gaussian": gaussian(4),
    "disk": disk(5),
    "horizontal": linear_motion(21, 0),
    "vertical": linear_motion(21, 90),
    "diagonal": linear_motion(21, 45),
    "shaken": shaken_motion(30),
}


@pytest.fixture(scope="module")
def photos() -> dict[str, np.ndarray]:
    return {name: read_file(SAMPLES / name) for name in NAMES}


def variance(image: np.ndarray) -> float:
    return measure(image, THRESHOLD).variance


def test_sharp_photos_are_valid(photos):
    for name, photo in photos.items():
        reading = measure(photo, THRESHOLD)
        assert reading.valid, name
        assert reading.reason is None
        assert reading.threshold == THRESHOLD


def test_a_photo_that_a_moving_camera_really_took_is_shaken():
    reading = measure(read_file(SAMPLES / "clock_motion.png"), THRESHOLD)
    assert not reading.valid
    assert reading.reason == "shaken"


@pytest.mark.parametrize("kind", BLURRED)
def test_blurred_photos_are_refused_as_what_they_are(photos, kind):
    # A path that wanders may lead back to where it began, and is then no other than a photo out of focus.
    expected = {"gaussian": {"blurred"}, "disk": {"blurred"}, "shaken": {"shaken", "blurred"}}.get(kind, {"shaken"})
    for name, photo in photos.items():
        assert measure(BLURRED[kind](photo, RNG), THRESHOLD).reason in expected, name


@pytest.mark.parametrize("degrees", [0, 30, 45, 60, 90, 135])
@pytest.mark.parametrize("name", NAMES)
def test_the_number_falls_as_motion_grows(photos, name, degrees):
    variances = [variance(linear_motion(length, degrees)(photos[name], RNG)) for length in (1, 5, 9, 15, 25)]
    assert variances == sorted(variances, reverse=True)


@pytest.mark.parametrize("name", NAMES)
def test_the_number_falls_as_blur_grows(photos, name):
    for kind, strengths in ((gaussian, (0.5, 1, 1.5, 2, 3, 4, 6, 9)), (disk, (1, 2, 3, 5, 8))):
        variances = [variance(kind(s)(photos[name], RNG)) for s in strengths]
        assert variances == sorted(variances, reverse=True)
        assert variances[0] < variance(photos[name])


@given(st.floats(0, 1e6), st.sampled_from(NAMES), st.sampled_from([0.0, 1.0, 3.0]))
@settings(max_examples=30, deadline=None)
def test_the_verdict_is_one_comparison(threshold, name, sigma):
    photo = read_cached(name)
    reading = measure(gaussian(sigma)(photo, RNG) if sigma else photo, threshold)
    assert reading.valid is (reading.variance >= threshold)
    assert (reading.reason is None) is reading.valid
    at_the_threshold = measure(photo, variance(photo))
    assert at_the_threshold.valid


_CACHE: dict[str, np.ndarray] = {}


def read_cached(name: str) -> np.ndarray:
    if name not in _CACHE:
        _CACHE[name] = read_file(SAMPLES / name)
    return _CACHE[name]


def resized(factor: float):
    return lambda image: cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def contrast(factor: float):
    return lambda image: np.clip((image.astype(float) - 128) * factor + 128, 0, 255).astype(np.uint8)


def brightness(change: int):
    return lambda image: np.clip(image.astype(int) + change, 0, 255).astype(np.uint8)


CHANGES = {
    "rot90": np.rot90,
    "rot180": lambda image: np.rot90(image, 2),
    "left-right": np.fliplr,
    "up-down": np.flipud,
    "contrast 0.8": contrast(0.8),
    "contrast 1.25": contrast(1.25),
    "brightness -15": brightness(-15),
    "brightness +15": brightness(15),
    "size 0.9": resized(0.9),
    "size 3": lambda image: cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_LANCZOS4),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_clear_verdict_survives(photos, change):
    clear = 0
    for photo in photos.values():
        for image in (photo, gaussian(2)(photo, RNG), *(b(photo, RNG) for b in BLURRED.values())):
            reading = measure(image, THRESHOLD)
            if max(reading.variance, THRESHOLD) / max(min(reading.variance, THRESHOLD), 1e-9) >= 2:
                clear += 1
                assert measure(CHANGES[change](image), THRESHOLD).valid is reading.valid
    assert clear >= 30


@given(st.sampled_from(NAMES), st.integers(0, 3), st.booleans())
@settings(max_examples=15, deadline=None)
def test_turning_and_mirroring_hardly_move_the_number(name, turns, mirror):
    photo = read_cached(name)
    turned = np.rot90(np.fliplr(photo) if mirror else photo, turns)
    assert variance(turned) == pytest.approx(variance(photo), rel=0.1)


# the traps


@pytest.mark.parametrize("blurred", [gaussian(3), linear_motion(21, 0), linear_motion(21, 60)])
def test_noise_does_not_lift_a_blurred_photo(photos, blurred):
    for photo in photos.values():
        assert not measure(then(blurred, noise(8))(photo, RNG), THRESHOLD).valid


def test_jpeg_blocks_do_not_lift_a_blurred_photo(photos):
    for photo in photos.values():
        assert not measure(then(gaussian(3), jpeg(20))(photo, RNG), THRESHOLD).valid


def test_enlarging_adds_no_sharpness(photos):
    for photo in photos.values():
        small = gaussian(3)(photo, RNG)
        assert not measure(cv2.resize(small, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC), THRESHOLD).valid


def test_a_small_sharp_photo_is_not_enlarged(photos):
    for photo in photos.values():
        small = cv2.resize(photo, (224, 224), interpolation=cv2.INTER_AREA)
        assert whole_grey(small).shape == (224, 224)
        assert measure(small, THRESHOLD).valid


def test_a_sharp_subject_before_a_soft_background_is_valid(photos):
    for name in ("astronaut.jpg", "camera.png", "chelsea.png", "coffee.jpg"):  # the subject is in the middle
        photo = photos[name]
        height, width = photo.shape[:2]
        mask = np.zeros((height, width, 1), np.float32)
        cv2.ellipse(mask, (width // 2, height // 2), (width // 3, height // 3), 0, 0, 360, 1.0, -1)
        smooth_seam = cv2.GaussianBlur(mask, (0, 0), 4)[..., None]
        portrait = photo * smooth_seam + gaussian(6)(photo, RNG) * (1 - smooth_seam)
        assert measure(portrait.astype(np.uint8), THRESHOLD).valid


def test_a_date_stamp_does_not_lift_a_blurred_photo(photos):
    for photo in photos.values():
        stamped = gaussian(3)(photo, RNG)
        height, width = stamped.shape[:2]
        place = (int(0.83 * width), int(0.95 * height))
        cv2.putText(stamped, "07 06", place, cv2.FONT_HERSHEY_SIMPLEX, width / 1000, (255, 140, 60), 1, cv2.LINE_AA)
        assert not measure(stamped, THRESHOLD).valid


def test_a_plain_wall_is_called_low_in_detail_not_blurred():
    ramp = np.linspace(100, 180, 400, dtype=np.uint8)
    wall = np.repeat(np.tile(ramp, (300, 1))[..., None], 3, axis=2)
    grainy = noise(3)(wall, np.random.default_rng(1))
    for image in (wall, grainy, np.full((300, 400, 3), 255, np.uint8), np.zeros((300, 400, 3), np.uint8)):
        assert measure(image, THRESHOLD).reason == "low_detail"


def test_a_picture_that_moved_is_called_shaken_and_one_out_of_focus_is_not(photos):
    for photo in photos.values():
        for length in (15, 25):
            for degrees in (0, 30, 90, 135):
                assert measure(linear_motion(length, degrees)(photo, RNG), THRESHOLD).reason == "shaken"
        for soft in (gaussian(3), gaussian(6), disk(6)):
            assert measure(soft(photo, RNG), THRESHOLD).reason == "blurred"


def test_a_refused_picture_without_light_is_called_dark_and_one_without_shadow_bright(photos):
    for photo in photos.values():
        soft = gaussian(4)(photo, RNG)
        assert measure(low_light(0.1)(soft, RNG), THRESHOLD).reason == "dark"
        assert measure((255 - (255 - soft.astype(float)) * 0.1).astype(np.uint8), THRESHOLD).reason == "bright"


# inputs


def test_every_contracted_shape_and_type_gives_the_same_number(photos):
    rgb = photos["coffee.jpg"]
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    opaque = np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
    expected = variance(rgb)
    same = {
        "grey": grey,
        "one channel": grey[..., None],
        "RGBA": opaque,
        "16 bit": rgb.astype(np.uint16) * 257,
        "unit float": rgb.astype(np.float32) / 255,
        "float of 0-255": rgb.astype(np.float64),
        "Fortran order": np.asfortranarray(rgb),
    }
    for name, image in same.items():
        assert variance(image) == pytest.approx(expected, rel=0.02), name
    assert variance(rgb[..., ::-1][:, ::-1]) > THRESHOLD  # negative strides


def test_what_is_wholly_transparent_shows_nothing(photos):
    hidden = np.dstack([photos["coffee.jpg"], np.zeros(photos["coffee.jpg"].shape[:2], np.uint8)])
    assert measure(hidden, THRESHOLD).variance == 0


dtypes = st.sampled_from([np.uint8, np.uint16, np.bool_, np.float16, np.float32, np.float64])


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_picture_is_decided(data):
    height, width = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)) | st.just((1, 3000)) | st.just((2, 1)))
    channels = data.draw(st.sampled_from([(), (1,), (3,), (4,)]))
    dtype = data.draw(dtypes)
    elements = st.floats(0, 1, width=16) if np.issubdtype(dtype, np.floating) else None
    image = data.draw(hnp.arrays(dtype, (height, width, *channels), elements=elements, fill=elements))
    reading = measure(image, THRESHOLD)
    assert np.isfinite(reading.variance)
    assert reading.variance >= 0
    assert reading.valid is (reading.variance >= THRESHOLD)


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (1, 1, 4), (2, 5000), (3000, 1, 3)])
def test_blank_and_tiny_pictures_have_no_detail(shape):
    assert measure(np.full(shape, 128, np.uint8), THRESHOLD).reason == "low_detail"


@pytest.mark.parametrize("shape", [(), (5,), (4, 4, 2), (4, 4, 5), (1, 4, 4, 3)])
def test_other_shapes_are_named_in_the_error(shape):
    with pytest.raises(InputError, match="must have the shape"):
        measure(np.zeros(shape, np.uint8), THRESHOLD)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((4, 4), np.int64), "int64"),
        (np.full((4, 4), np.nan), "not finite"),
        (np.full((4, 4), np.inf, np.float32), "not finite"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_sentence(image, message):
    with pytest.raises(InputError, match=message):
        measure(image, THRESHOLD)


def test_halving_in_strips_is_area_averaging(photos):
    large = cv2.resize(photos["coffee.jpg"], (4000, 3000), interpolation=cv2.INTER_LINEAR)
    at_once = cv2.resize(cv2.cvtColor(large, cv2.COLOR_RGB2GRAY), (500, 375), interpolation=cv2.INTER_AREA)
    assert np.abs(whole_grey(large).astype(int) - at_once).max() <= 3
    assert variance(large) == pytest.approx(variance(at_once), rel=0.1)


def test_the_number_is_opencvs_laplacian_variance():
    """The documented arithmetic, tile by tile in CV_64F, on an image without borders or parts to ignore."""
    rng = np.random.default_rng(3)
    blots = sum(cv2.GaussianBlur(rng.normal(0, s, (300, 400)), (0, 0), s) * s for s in (1, 4))
    patch = np.zeros((300, 400))
    cv2.circle(patch, (260, 150), 100, 1.0, -1)
    detailed = blots / blots.std() * 20 * cv2.GaussianBlur(patch, (0, 0), 8)
    ramp = np.linspace(60, 190, 400)[None] + np.linspace(-20, 20, 300)[:, None]
    grey = np.clip(ramp + detailed, 2, 253).astype(np.uint8)
    (content,) = photographs(grey)
    assert np.array_equal(content.grey, grey)
    assert content.own.all()
    along = np.exp(-(np.arange(-9, 10) ** 2) / 18)
    half = np.diag(np.exp(-(np.arange(-5, 6) ** 2) / 4.5))
    directions = [along[None], along[:, None], (half, half), (half[:, ::-1], half[:, ::-1])]
    smallest = None
    for kernels in directions:
        smooth = cv2.GaussianBlur(grey.astype(np.float64), (0, 0), 0.4)
        for kernel in kernels if isinstance(kernels, tuple) else (kernels,):
            smooth = cv2.filter2D(smooth, -1, np.ascontiguousarray(kernel / kernel.sum()))
        laplacian = cv2.Laplacian(smooth, cv2.CV_64F)
        rows = np.rint(np.linspace(0, 300, 51)).astype(int)
        columns = np.rint(np.linspace(0, 400, 68)).astype(int)
        tiles = np.array(
            [
                [laplacian[t:b, left:r].var() for left, r in itertools.pairwise(columns)]
                for t, b in itertools.pairwise(rows)
            ]
        )
        smallest = tiles if smallest is None else np.minimum(smallest, tiles)
    means = np.array(
        [[grey[t:b, left:r].mean() for left, r in itertools.pairwise(columns)] for t, b in itertools.pairwise(rows)]
    )
    spread = cv2.medianBlur(smallest.astype(np.float32), 5)
    dark, light = np.percentile(means, (2, 98))
    spread = spread * max(1, 150 / (light - dark)) ** 2
    group = np.digitize(means, np.percentile(means, np.arange(12.5, 100, 12.5)))
    noise = np.array([1.5 * np.percentile(spread[group == number], 40) for number in range(8)])
    local = cv2.boxFilter(means**2, -1, (3, 3), borderType=cv2.BORDER_REFLECT)
    local -= cv2.boxFilter(means, -1, (3, 3), borderType=cv2.BORDER_REFLECT) ** 2
    shown = np.sqrt(np.maximum(local, 0)) * max(1, 150 / (light - dark)) >= 3
    expected = np.percentile(np.maximum(spread - noise[group], 0)[shown], 98)
    assert expected > 1
    assert variance(grey) == pytest.approx(expected, rel=1e-2)


# what is added to a photograph

HARD = {"watermark", "shot noise", "dither", "picture in picture", "subtitles", "date", "strip", "mosaic", "sharpened"}
EASY = sorted(set(ADDITIONS) - HARD)


@pytest.mark.parametrize("kind", EASY)
def test_what_is_added_does_not_carry_the_verdict(photos, kind):
    """At most one in ten gets a wrong verdict, both of the sharp and of the blurred images."""
    rng = np.random.default_rng(1)
    wrong = {"sharp": 0, "gaussian": 0, "motion": 0}
    states = {"sharp": None, "gaussian": gaussian(4), "motion": linear_motion(21)}
    for photo in photos.values():
        for state, blurring in states.items():
            base = blurring(photo, rng) if blurring else photo
            for _ in range(2):
                valid = measure(ADDITIONS[kind](base, rng), THRESHOLD).valid
                wrong[state] += valid is not (state == "sharp")
    assert max(wrong.values()) <= 1, wrong


def test_a_mosaic_is_refused(photos):
    for photo in photos.values():
        for _ in range(4):
            assert not measure(ADDITIONS["mosaic"](photo, RNG), THRESHOLD).valid


def test_a_picture_whose_noise_hides_its_sharpness_is_called_noisy(photos):
    for photo in photos.values():
        assert measure(noise(15)(gaussian(4)(photo, RNG), RNG), THRESHOLD).reason == "noisy"


def test_one_sharp_photograph_in_a_collage_is_enough(photos):
    photo = photos["coffee.jpg"]
    soft = gaussian(5)(photo, RNG)
    gap = np.full_like(photo[:, :8], 255)
    assert measure(np.hstack([photo, gap, soft]), THRESHOLD).valid
    assert not measure(np.hstack([soft, gap, soft]), THRESHOLD).valid


# what the user sees


def test_the_map_shows_where_the_photo_is_sharp(photos):
    photo = photos["coffee.jpg"]
    half = photo.copy()
    middle = photo.shape[1] // 2
    half[:, :middle] = gaussian(5)(photo, RNG)[:, :middle]
    outlined = (sharpness_overlay(half, THRESHOLD) == 255).all(axis=2)
    middle = outlined.shape[1] // 2
    assert outlined[:, middle + 30 :].any()
    assert not outlined[:, : middle - 30].any()


def test_the_overlay_has_the_working_size_and_outlines_the_sharp_parts(photos):
    overlay = sharpness_overlay(photos["coffee.jpg"], THRESHOLD)
    assert overlay.shape == (375, 562, 3)
    assert overlay.dtype == np.uint8
    white = (overlay == 255).all(axis=2)
    assert white.any()
    assert not (sharpness_overlay(photos["coffee.jpg"], 1e9) == 255).all(axis=2).any()


@pytest.mark.external
def test_full_resolution_photographs_meet_the_bars(test_data):
    photos = [read_file(path) for path in sorted((test_data / "photos").iterdir())]
    rng = np.random.default_rng(0)

    def refused(degrade) -> float:
        return np.mean([not measure(degrade(photo, rng), THRESHOLD).valid for photo in photos])

    assert np.mean([not measure(photo, THRESHOLD).valid for photo in photos]) <= 0.02
    for degrade in (gaussian(3), linear_motion(15), linear_motion(15, 0), linear_motion(15, 90)):
        assert refused(degrade) >= 0.95


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.05123, "0.0512"),
        (17.26, "17.2"),
        (1234.5, "1234"),
        (58.99999, "58.9"),
        (59.0, "59.0"),
        (1e-9, "0.000000"),
    ],
)
def test_a_variance_is_written_rounded_down(value, text):
    assert format_variance(value) == text
