import json
import shutil

import numpy as np
import pytest

from imgcap.errors import InputError
from imgcap.inference.files import CONFIDENCE, describe
from imgcap.inference.judging.confidence import LOG_PROBABILITY, Curve, logistic
from imgcap.model import ImgcapConfig


@pytest.fixture
def folder(tiny_captioner, tmp_path):
    shutil.copytree(tiny_captioner, tmp_path / "captioner")
    return tmp_path / "captioner"


def test_an_older_curve_is_given_whole_or_not_at_all():
    with pytest.raises(ValueError, match="together or not at all"):
        ImgcapConfig(confidence_slope=1.0)


def test_the_curve_says_how_sure():
    of_itself = 1 / (1 + np.exp(-(2 * np.exp(-1.0) + 3)))
    assert Curve(2.0, 3.0).confidence(-1.0, -0.5) == pytest.approx(of_itself)
    of_both = 1 / (1 + np.exp(-(2 * np.exp(-1.0) + 4 * np.exp(-0.5) + 3)))
    assert Curve(2.0, 3.0, 4.0).confidence(-1.0, -0.5) == pytest.approx(of_both)


def test_nothing_overflows():
    assert logistic(np.array([-1e4, 0, 1e4])).tolist() == [0, 0.5, 1]


def test_files_of_earlier_versions_mean_what_they_meant(folder):
    (folder / CONFIDENCE).write_text(json.dumps({"curves": {"short": {"slope": 2.0, "intercept": 3.0, "ece": 0.1}}}))
    curve = describe(folder, "").confidence["short"]
    assert curve.of == LOG_PROBABILITY
    assert curve.confidence(-1.0, -0.5) == pytest.approx(1 / (1 + np.exp(-1.0)))
    (folder / CONFIDENCE).unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"confidence_slope": 2.0, "confidence_intercept": 3.0}))
    assert describe(folder, "").confidence == {"normal": curve}


def test_a_curve_of_a_later_version_is_refused_in_a_sentence(folder):
    curve = {"slope": 2.0, "intercept": 3.0, "of": "entropy"}
    (folder / CONFIDENCE).write_text(json.dumps({"curves": {"short": curve}}))
    with pytest.raises(InputError, match="No captioner can be loaded"):
        describe(folder, "here")
