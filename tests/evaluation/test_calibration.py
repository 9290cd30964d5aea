import json
import shutil
import sys

import numpy as np
import pytest
from shapes import captioned_images, save_caption_dataset

from imgcap.cli.main import main
from imgcap.data.vocabulary import UNK
from imgcap.errors import InputError
from imgcap.evaluation.calibration import calibrate_captioner
from imgcap.evaluation.confidence import MIN_IMAGES
from imgcap.evaluation.run import caption_split
from imgcap.inference.checkpoint import load_captioner
from imgcap.inference.engines.torch_engine import TorchEngine
from imgcap.inference.files import describe
from imgcap.inference.judging import consensus, expected_ngrams, unfamiliar
from imgcap.inference.judging.cider import CiderD
from imgcap.inference.judging.confidence import Curve, alternatives_curve
from imgcap.inference.writer import Writer
from imgcap.reading import LENGTHS


@pytest.fixture(scope="module")
def fitted(exported_captioner, tmp_path_factory):
    """A captioner after calibration, what the calibration returned, and the images it was calibrated on."""
    folder = tmp_path_factory.mktemp("fitted") / "captioner"
    shutil.copytree(exported_captioner, folder)  # its ONNX files write captions faster than PyTorch
    training, validation = captioned_images(30), captioned_images(2 * MIN_IMAGES)
    report = calibrate_captioner(folder, training, validation)
    return folder, report, training, validation


def test_every_length_and_its_alternatives_have_a_curve(fitted):
    folder, report, *_ = fitted
    names = {name for length in LENGTHS for name in (length, alternatives_curve(length))}
    # Random weights draw few long alternatives that may be shown: too few for a curve.
    assert names - {alternatives_curve("long")} <= set(report["curves"]) <= names
    assert set(report["curves"]) == set(describe(folder, "").confidence)
    assert json.loads((folder / "confidence.json").read_text()) == report
    for name, curve in report["curves"].items():
        assert describe(folder, "").confidence[name] == Curve.read(curve)
        assert name not in LENGTHS or curve["caption_slope"] == 0
        assert curve["n"] + curve["fitted_on"] >= MIN_IMAGES if name in LENGTHS else curve["n"] > 0
    assert report["slope"] == report["curves"]["normal"]["slope"]


def test_the_captions_are_chosen_with_the_training_frequencies(fitted):
    folder, _, training, validation = fitted
    vocabulary = describe(folder, "").vocabulary
    scorer = CiderD(vocabulary.encode(captions) for captions in training.captions)
    unknown = vocabulary.list_words().index(UNK)  # n-grams with it are not stored
    one, other = (
        [[i for i in row if i != unknown] for row in vocabulary.encode(captions)]
        for captions in validation.captions[:2]
    )
    assert consensus.load_scorer(folder).score(one, other) == pytest.approx(scorer.score(one, other))
    assert len(caption_split(str(folder), validation.head(3)).captions) == 3


def test_few_of_the_validation_images_are_unfamiliar(fitted):
    folder, *_ = fitted
    bounds = unfamiliar.load_bounds(folder)
    assert np.isfinite(bounds.threshold)
    assert bounds.threshold > 0


@pytest.fixture
def run(monkeypatch, capsys):
    """Exit status, output and complaint of `python -m imgcap calibrate-confidence`."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["imgcap", "calibrate-confidence", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return run


def test_the_command_prints_json_and_updates_the_folder(run, tiny_captioner, tmp_path, monkeypatch):
    folder, data = tmp_path / "captioner", tmp_path / "data"
    shutil.copytree(tiny_captioner, folder)
    data.mkdir()
    save_caption_dataset(data, train=40, validation=MIN_IMAGES, test=1)
    for name in (expected_ngrams.FILE, unfamiliar.FILE, consensus.FILE):  # as another version wrote them
        (folder / name).write_bytes(b"old")
    with pytest.raises(InputError, match="is damaged or from another version; fit it again with `imgcap calibrate-"):
        describe(folder, "")
    encode, encoded = TorchEngine.encode, []
    monkeypatch.setattr(
        TorchEngine, "encode", lambda *given, **more: encoded.append(len(given[1])) or encode(*given, **more)
    )
    status, output, _ = run("--model", folder, "--data", data)
    assert status == 0
    assert sum(encoded) == 2 * 40 + MIN_IMAGES  # training images and their mirror images, and validation images, once
    report = json.loads(output)
    assert report["n"] == MIN_IMAGES // 2
    assert json.loads((folder / "confidence.json").read_text()) == report
    assert (folder / consensus.FILE).is_file()
    assert (folder / unfamiliar.FILE).is_file()
    assert (folder / expected_ngrams.FILE).is_file()
    writer = Writer(TorchEngine(load_captioner(str(folder))[0]), describe(folder, "with n-grams"))
    assert writer.description.ngrams is not None
    side = writer.description.preprocessing.side
    draft = writer.write(np.random.default_rng(0).normal(size=(2, 3, side, side)).astype(np.float32), "normal")
    assert draft.options.num_beams == 2 * writer.description.search.num_beams
    assert all(caption.caption and caption.confidence is not None for caption in writer.captions(draft))


def test_the_command_says_what_is_wrong_and_writes_nothing(run, tiny_captioner, caption_folder, tmp_path):
    folder = tmp_path / "captioner"
    shutil.copytree(tiny_captioner, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    status, output, complaint = run("--model", folder, "--data", caption_folder)
    assert (status, output) == (2, "")
    assert "at least 100 validation images" in complaint
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    status, output, complaint = run("--model", tmp_path / "none", "--data", caption_folder)
    assert (status, output) == (2, "")
    assert "There is no captioner in the folder" in complaint
