import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from imgcap.blur import sharpness as blur
from imgcap.captioner import NUM_ALTERNATIVES, Captioner
from imgcap.errors import InputError
from imgcap.images.limits import ImageLimits
from imgcap.images.loading import ImageLoader
from imgcap.inference.alternatives import choose
from imgcap.inference.checkpoint import load_captioner
from imgcap.inference.confidence import confidence, mean_log_probabilities
from imgcap.reading import LENGTHS, format_confidence
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
    return ImageLoader(ImageLimits()).read_file(SAMPLES / "coffee.jpg")


@pytest.fixture(scope="module")
def blurred(sharp):
    import cv2

    return cv2.GaussianBlur(sharp, (0, 0), 6)


@pytest.mark.parametrize("fault", [RuntimeError, OverflowError, MemoryError, KeyError])
def test_a_fault_with_one_source_stands_in_its_own_reading(monkeypatch, fault):
    def fail(source):
        raise fault("secret")

    captioner = Captioner(Settings())
    monkeypatch.setattr(captioner.images, "load", fail)
    reading = captioner.caption_source("a.png")
    assert (reading.source, reading.valid, reading.caption) == ("a.png", None, None)
    assert "fault of this program" in reading.error
    assert "secret" not in reading.error


def test_a_sharp_picture_gets_a_caption(captioner, sharp):
    reading = captioner.caption(sharp, source="coffee.jpg")
    assert list(reading.as_dict()) == FIELDS
    assert reading.valid
    assert reading.reason is None
    assert reading.error is None
    assert reading.blur_variance == blur.measure(sharp).variance
    assert reading.caption[0].isupper()
    assert reading.caption.endswith(".")
    texts = [reading.caption, *(alternative.caption for alternative in reading.alternatives)]
    assert 1 < len(texts) <= NUM_ALTERNATIVES + 1
    assert choose(texts[0], texts[1:], NUM_ALTERNATIVES) == texts[1:]
    assert all(0 < sure < 1 for sure in (reading.confidence, *(other.confidence for other in reading.alternatives)))


def test_confidence_is_that_of_the_sentence_under_the_model(captioner, sharp):
    model, processor = load_captioner(captioner.settings.model)
    pixels = processor.image_processor(sharp, return_tensors="pt", input_data_format="channels_last")
    with torch.inference_mode():
        grid = model.encoder(pixels["pixel_values"]).last_hidden_state
    for length in LENGTHS:
        for said in captioner.describe(sharp, length):
            probability = mean_log_probabilities(model, processor, grid, [said.caption])[0]
            # The app's encoder may run in bfloat16.
            assert said.confidence == pytest.approx(confidence(model.config, probability), abs=0.01)


def test_a_model_that_is_not_calibrated_says_so(tiny_captioner, sharp, tmp_path):
    shutil.copytree(tiny_captioner, tmp_path / "captioner")
    path = tmp_path / "captioner" / "config.json"
    fields = json.loads(path.read_text())
    del fields["confidence_slope"], fields["confidence_intercept"]
    path.write_text(json.dumps(fields))
    reading = Captioner(Settings(model=str(tmp_path / "captioner"))).caption(sharp)
    assert reading.caption
    assert reading.confidence is None
    assert {alternative.confidence for alternative in reading.alternatives} == {None}


@pytest.mark.parametrize(("share", "words"), [(0.0, "1%"), (0.724, "72%"), (0.999, "99%")])
def test_no_caption_is_certain(share, words):
    assert format_confidence(share) == words


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
