import ast
import json
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from engines import mean_log_probabilities
from PIL import Image

from imgcap.blur import sharpness as blur
from imgcap.captioner import NUM_ALTERNATIVES, Captioner
from imgcap.cli.caption import format_reading
from imgcap.errors import InputError
from imgcap.images.limits import ImageLimits
from imgcap.images.loading import ImageLoader
from imgcap.inference import writer
from imgcap.inference.batching import BatchQueue
from imgcap.inference.checkpoint import load_captioner
from imgcap.inference.engines.torch_engine import TorchEngine
from imgcap.inference.files import as_sentence, describe
from imgcap.inference.judging.alternatives import choose
from imgcap.inference.judging.confidence import PROBABILITY, alternatives_curve
from imgcap.inference.judging.unfamiliar import fit_bounds, save_bounds
from imgcap.reading import LENGTHS, Caption, format_confidence
from imgcap.settings import ROOT, Settings

SAMPLES = ROOT / "tests" / "samples"
FIELDS = [
    "source", "valid", "reason", "blur_variance", "threshold", "caption", "confidence", "alternatives", "error",
    "warning",
]  # fmt: skip


@pytest.fixture(scope="module")
def calibrated(tiny_captioner, tmp_path_factory):
    """A captioner with another curve of confidence for each length and for its alternatives."""
    folder = tmp_path_factory.mktemp("calibrated") / "captioner"
    shutil.copytree(tiny_captioner, folder)
    names = [name for length in LENGTHS for name in (length, alternatives_curve(length))]
    curves = {
        name: {"slope": 1.0 + place, "caption_slope": place % 2, "intercept": 0.5 - place, "of": PROBABILITY}
        for place, name in enumerate(names)
    }
    (folder / "confidence.json").write_text(json.dumps({"curves": curves}))
    return folder


@pytest.fixture(scope="module")
def captioner(calibrated):
    return Captioner(Settings(model=str(calibrated)))


@pytest.fixture(scope="module")
def sharp():
    return ImageLoader(ImageLimits()).read_file(SAMPLES / "coffee.jpg")


@pytest.fixture(scope="module")
def blurred(sharp):
    import cv2

    return cv2.GaussianBlur(sharp, (0, 0), 6)


def assert_alike(ones, others):
    """Readings are the same but for the last digits of confidence, which depend on the size of the batch."""
    for one, other in zip(ones, others, strict=True):
        assert texts_of(one) == texts_of(other)
        assert confidences_of(one) == pytest.approx(confidences_of(other), abs=1e-4)


def texts_of(reading):
    plain = replace(reading, confidence=None, alternatives=())
    return plain, [alternative.caption for alternative in reading.alternatives]


def confidences_of(reading):
    return [one.confidence for one in (reading, *reading.alternatives)]


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


@pytest.mark.parametrize("name", ["coffee.jpg", "clock_motion.png"])
def test_a_file_is_measured_where_it_is_decoded_with_the_same_result(captioner, name):
    pixels, reading = captioner.open((SAMPLES / name).read_bytes(), name, max_pixels=2_000_000)
    assert (pixels == ImageLoader(ImageLimits()).read_file(SAMPLES / name)).all()
    assert reading == captioner.check(pixels, name)
    assert reading.valid is (reading.reason is None)


def test_a_file_that_is_opened_has_the_given_limit(captioner):
    with pytest.raises(InputError, match=r"more than 0\.1 million pixels"):
        captioner.open((SAMPLES / "coffee.jpg").read_bytes(), max_pixels=100_000)


def test_a_sharp_picture_gets_a_caption(captioner, sharp):
    reading = captioner.caption(sharp, source="coffee.jpg")
    assert list(reading.as_dict()) == FIELDS
    assert reading.valid
    assert reading.reason is None
    assert reading.error is None
    assert reading.blur_variance == blur.measure(sharp, 0.0).variance
    assert reading.caption[0].isupper()
    assert reading.caption.endswith(".")
    texts = [reading.caption, *(alternative.caption for alternative in reading.alternatives)]
    assert 1 < len(texts) <= NUM_ALTERNATIVES + 1
    assert choose(texts[0], texts[1:], NUM_ALTERNATIVES) == texts[1:]
    assert all(0 < sure < 1 for sure in (reading.confidence, *(other.confidence for other in reading.alternatives)))


@pytest.mark.parametrize("length", LENGTHS)
def test_confidence_is_that_of_the_sentence_under_the_model(captioner, sharp, length):
    model, processor = load_captioner(captioner.settings.model)
    pixels = processor.image_processor(sharp, return_tensors="pt", input_data_format="channels_last")["pixel_values"]
    engine, description = TorchEngine(model), describe(Path(captioner.settings.model), "")
    reading = captioner.caption(sharp, length)
    said = [Caption(reading.caption, reading.confidence), *reading.alternatives]
    texts = [[one.caption for one in said]]
    probabilities = mean_log_probabilities(engine, description, engine.encode(pixels.numpy()).grid, texts)[0]
    for place, (one, probability) in enumerate(zip(said, probabilities, strict=True)):
        curve = description.confidence[alternatives_curve(length) if place else length]
        # The app's encoder may run in bfloat16, and prepares its pixels with Pillow.
        assert one.confidence == pytest.approx(curve.confidence(probability, probabilities[0]), abs=0.01)


@pytest.mark.parametrize("strange", [True, False])
@pytest.mark.parametrize("wish", ["warn", "refuse", "off"])
def test_an_unfamiliar_picture_is_warned_of_refused_or_captioned(calibrated, sharp, tmp_path, wish, strange):
    folder = tmp_path / "captioner"
    shutil.copytree(calibrated, folder)
    side = describe(folder, "").preprocessing.side
    encoding = TorchEngine(load_captioner(str(folder))[0]).encode(np.zeros((1, 3, side, side), np.float32))
    channels = encoding.features.early.shape[1]
    features = np.random.default_rng(0).normal(size=(20, channels)).astype(np.float32)
    save_bounds(folder, replace(fit_bounds(features, features), threshold=0.0 if strange else 1e9))
    reading = Captioner(Settings(model=str(folder), unfamiliar=wish)).caption(sharp)
    assert reading.warning == ("unfamiliar" if strange and wish != "off" else None)
    assert reading.valid
    assert (reading.caption is None) == (strange and wish == "refuse") == (reading.confidence is None)
    assert bool(reading.alternatives) == (reading.caption is not None)
    assert ("likely wrong" in format_reading(reading)) == (strange and wish == "warn")
    assert ("not described" in format_reading(reading)) == (strange and wish == "refuse")
    assert list(Captioner(Settings(model=str(folder))).check(sharp).as_dict().values())[-1] is None


def test_nothing_is_written_that_nobody_asked_for(captioner, sharp, monkeypatch):
    whole = captioner.caption(sharp)
    assert len(captioner.caption(sharp, alternatives=1).alternatives) == 1
    monkeypatch.setattr(writer, "draw", lambda *_: pytest.fail("captions were drawn"))
    reading = captioner.caption(sharp, alternatives=0)
    assert_alike([reading], [replace(whole, alternatives=())])


def test_the_caption_comes_before_the_alternatives(captioner, sharp):
    first, last = captioner.complete_in_steps(captioner.check(sharp), sharp, "normal")
    assert_alike([last], [captioner.caption(sharp)])
    assert first == replace(last, alternatives=())
    assert len(list(captioner.complete_in_steps(captioner.check(sharp), sharp, "normal", 0))) == 1


def test_pictures_that_wait_together_are_captioned_together_and_as_they_would_be_alone(captioner, sharp, monkeypatch):
    pictures = [np.ascontiguousarray(sharp[place * 20 :]) for place in range(6)]
    wanted = list(zip(pictures, [*LENGTHS, *LENGTHS], [3, 0, 1, 2, 3, 0], strict=True))
    alone = [captioner.caption(picture, length, None, count) for picture, length, count in wanted]
    batches, held, run = [], threading.Lock(), captioner._queue._run

    def wait(jobs):
        batches.append(len(jobs))
        with held:
            pass
        run(jobs)

    monkeypatch.setattr(captioner._queue, "_run", wait)
    with ThreadPoolExecutor(6) as pool:
        with held:  # no batch goes on
            futures = [
                pool.submit(captioner.caption, picture, length, None, count) for picture, length, count in wanted
            ]
            deadline = time.monotonic() + 60
            while captioner._queue._count() + sum(batches) < 6 and time.monotonic() < deadline:
                time.sleep(0.01)
        together = [future.result(60) for future in futures]
    assert_alike(together, alone)
    assert max(batches) > 1


def test_a_caller_who_leaves_takes_the_picture_out_of_the_queue(captioner, sharp):
    batches = []
    held = threading.Event()
    queue = BatchQueue(lambda jobs: (batches.append(len(jobs)), held.wait(30)))
    mine = Captioner(captioner.settings)
    mine._queue = queue
    reading = mine.check(sharp)
    queue.submit("something else")
    while not batches:
        time.sleep(0.01)
    left = threading.Event()

    def leave(self, timeout=None):
        left.set()
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Event, "wait", leave)
        with pytest.raises(KeyboardInterrupt):
            mine.complete(reading, sharp, "normal")
    held.set()
    queue.submit("the last").result(30)
    queue.close()
    assert left.is_set()
    assert batches == [1, 1]


@pytest.mark.parametrize("alternatives", [0, 3])
def test_a_picture_that_waits_is_taken_out_when_nobody_wants_it_any_more(captioner, sharp, alternatives):
    gone = Future()
    mine = Captioner(captioner.settings)
    mine.load()
    began, held = threading.Event(), threading.Event()
    mine._queue = BatchQueue(lambda _: (began.set(), held.wait(30)))
    mine._queue.submit("something else")
    assert began.wait(30)
    steps = mine.complete_in_steps(mine.check(sharp), sharp, "normal", alternatives, gone=gone)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, steps)
        while mine._queue._count() == 0:
            time.sleep(0.01)
        gone.set_result(None)
        with pytest.raises(CancelledError):
            waiting.result(30)
    assert mine._queue._count() == 0
    held.set()
    mine.close()


def test_an_engine_that_fails_fails_every_picture_that_it_had(captioner, sharp, monkeypatch):
    mine = Captioner(captioner.settings)
    monkeypatch.setattr(mine.load().engine, "encode", Mock(side_effect=MemoryError("full")))
    for count in (0, 3):
        with pytest.raises(MemoryError, match="full"):
            mine.caption(sharp, alternatives=count)
    mine.close()


def test_each_word_comes_with_where_the_decoder_looked(captioner, sharp):
    text = captioner.caption(sharp).caption
    looked = captioner.attend(sharp, text)
    assert as_sentence(" ".join(word for word, _ in looked)) == text
    assert all(cells.shape == (4,) and cells.sum() == pytest.approx(1) for _, cells in looked)


WITHOUT = """
import json, logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
from imgcap.captioner import Captioner
from imgcap.settings import Settings
captioner = Captioner(Settings(model=sys.argv[1]))
captioner.warm()
reading = captioner.caption_source(sys.argv[2])
captioner.attend(captioner.images.load(sys.argv[2]), reading.caption)
modules = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"reading": reading.as_dict(), "engine": captioner.load().engine.description, "modules": modules}))
"""
HEAVY = {"torch", "torchvision", "transformers", "onnx", "datasets", "scipy", "sklearn", "huggingface_hub", "gradio"}


def test_with_exported_files_neither_pytorch_nor_transformers_is_imported(exported_captioner):
    answer = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(exported_captioner), str(SAMPLES / "coffee.jpg")],
        cwd=ROOT, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    said = json.loads(answer.stdout)
    assert said["reading"]["caption"]
    assert said["reading"]["alternatives"]
    assert said["engine"].startswith("ONNX Runtime, int8")
    assert not HEAVY & set(said["modules"])
    assert "Captions are computed by ONNX Runtime, int8" in answer.stderr


def test_the_command_line_and_the_server_import_neither(exported_captioner):
    code = (
        "import sys; import imgcap.cli.main, imgcap.cli.caption, imgcap.web.server; "
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert answer.returncode == 0, answer.stderr
    assert not {"torch", "torchvision", "transformers", "onnx", "datasets"} & set(ast.literal_eval(answer.stdout))


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
    variance = blur.measure(sharp, 0.0).variance
    for threshold, valid in ((variance, True), (np.nextafter(variance, np.inf), False)):
        reading = Captioner(Settings(model=str(tiny_captioner), blur_threshold=threshold)).check(sharp)
        assert (reading.valid, reading.threshold) == (valid, threshold)


def test_a_file_and_its_pixels_read_alike(captioner, sharp):
    by_path = captioner.caption_source(str(SAMPLES / "coffee.jpg"))
    assert by_path.source == str(SAMPLES / "coffee.jpg")
    assert_alike([replace(by_path, source=None)], [captioner.caption(sharp)])


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
        assert_alike(pool.map(captioner.caption, pictures), alone)


def test_any_shape_of_rgb_is_captioned(captioner, sharp):
    assert captioner.caption(np.ascontiguousarray(sharp[:, :200])).caption
    assert captioner.caption(np.asarray(Image.new("RGB", (1, 1)))).caption is None
