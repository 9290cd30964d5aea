import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from imgcap import blur, images
from imgcap.captioner import ALTERNATIVES, Captioner
from imgcap.errors import InputError
from imgcap.settings import ROOT, Settings

SAMPLES = ROOT / "tests" / "samples"
FIELDS = [
    "source", "valid", "reason", "blur_variance", "threshold", "caption", "confidence", "alternatives", "error",
]  # fmt: skip


@pytest.fixture(scope="module")
def captioner(tiny_captioner):
    return Captioner(Settings(model=str(tiny_captioner)))


@pytest.fixture(scope="module")
def sharp():
    return images.read_file(SAMPLES / "coffee.jpg")


@pytest.fixture(scope="module")
def blurred(sharp):
    import cv2

    return cv2.GaussianBlur(sharp, (0, 0), 6)


def test_a_sharp_picture_gets_a_caption(captioner, sharp):
    reading = captioner.caption(sharp, source="coffee.jpg")
    assert list(reading.as_dict()) == FIELDS
    assert reading.valid
    assert reading.reason is None
    assert reading.error is None
    assert reading.blur_variance == blur.measure(sharp).variance
    assert reading.caption[0].isupper()
    assert reading.caption.endswith(".")
    assert reading.confidence is None
    texts = [reading.caption, *(alternative.caption for alternative in reading.alternatives)]
    assert len(texts) == len(set(texts)) <= ALTERNATIVES + 1


def test_a_blurred_picture_gets_none(captioner, blurred):
    reading = captioner.caption(blurred)
    assert not reading.valid
    assert reading.reason == "blurred"
    assert reading.caption is None
    assert reading.alternatives == ()
    assert reading.error is None


def test_a_check_never_needs_the_model(sharp, blurred):
    captioner = Captioner(Settings(model="there/is-none"))
    assert captioner.check(sharp).valid
    assert captioner.caption(blurred).reason == "blurred"
    with pytest.raises(InputError, match="No captioner can be loaded"):
        captioner.caption(sharp)


def test_the_threshold_comes_from_the_settings(tiny_captioner, sharp):
    variance = blur.measure(sharp).variance
    for threshold, valid in ((variance, True), (np.nextafter(variance, np.inf), False)):
        reading = Captioner(Settings(model=str(tiny_captioner), blur_threshold=threshold)).check(sharp)
        assert (reading.valid, reading.threshold) == (valid, threshold)


def test_a_file_and_its_pixels_read_alike(captioner, sharp):
    by_path = captioner.caption_source(str(SAMPLES / "coffee.jpg"))
    assert by_path.source == str(SAMPLES / "coffee.jpg")
    assert by_path.as_dict() | {"source": None} == captioner.caption(sharp).as_dict()


def test_a_bad_file_is_a_reading_with_an_error(captioner, tmp_path):
    (tmp_path / "broken.jpg").write_bytes((SAMPLES / "coffee.jpg").read_bytes()[:3000])
    for path in (tmp_path / "broken.jpg", tmp_path / "absent.jpg"):
        reading = captioner.caption_source(str(path))
        assert reading.error.endswith(".")
        assert reading.valid is reading.caption is reading.blur_variance is None
        assert json.loads(json.dumps(reading.as_dict()))["source"] == str(path)


def test_an_unknown_length_is_named(captioner, sharp):
    with pytest.raises(InputError, match="length must be short, normal or long, not 'huge'"):
        captioner.caption(sharp, "huge")


def test_many_threads_get_what_one_gets(captioner, sharp):
    pictures = [sharp, np.ascontiguousarray(sharp[:, ::-1]), np.ascontiguousarray(sharp[:300, :300])] * 3
    alone = [captioner.caption(picture) for picture in pictures]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(captioner.caption, pictures)) == alone


def test_any_shape_of_rgb_is_captioned(captioner):
    noise = np.random.default_rng(0).integers(0, 256, (40, 900, 3), dtype=np.uint8)
    assert captioner.caption(noise).caption
    assert captioner.caption(np.asarray(Image.new("RGB", (1, 1)))).caption is None
