import json
import shutil
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from imgcap.errors import InputError
from imgcap.evaluation.confidence import MIN_IMAGES, calibrate, fit, reliability, save_calibration
from imgcap.hub.card import write_confidence
from imgcap.inference.files import describe
from imgcap.inference.judging.confidence import PROBABILITY, Curve

LOG_PROBABILITIES = st.floats(-50, 0)


def outcomes(size):
    return arrays(np.float64, size, elements=LOG_PROBABILITIES), arrays(np.bool_, size)


@pytest.fixture
def calibrated(tiny_captioner, tmp_path):
    folder = tmp_path / "captioner"
    shutil.copytree(tiny_captioner, folder)
    return folder


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 60).flatmap(lambda n: st.tuples(*outcomes(n))), LOG_PROBABILITIES, LOG_PROBABILITIES)
def test_whatever_it_was_fitted_on_a_likelier_caption_is_never_less_sure(data, one, other):
    curve = fit(*data)
    low, high = (curve.confidence(x, x) for x in sorted((one, other)))
    assert 0 <= low <= high <= 1


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60).flatmap(lambda n: st.tuples(*outcomes(n))))
def test_the_fitted_confidences_have_the_share_of_good_captions(data):
    scores, good = data
    many, few = good.sum(), (~good).sum()
    smoothed = np.where(good, (many + 1) / (many + 2), 1 / (few + 2)).mean()
    assert fit(scores, good).confidences(scores, scores).mean() == pytest.approx(smoothed, abs=1e-3)


@pytest.mark.parametrize("good", [np.ones(50, bool), np.zeros(50, bool), np.arange(50) >= 25])
def test_data_without_doubt_leave_some(good):
    scores = np.linspace(-3, 0, 50)
    confidences = fit(scores, good).confidences(scores, scores)
    assert ((confidences > 0) & (confidences < 1)).all()


def test_the_curve_that_made_the_data_is_found():
    rng = np.random.default_rng(0)
    scores = rng.normal(-1.2, 0.4, 20_000)
    good = rng.random(20_000) < Curve(9.0, -3.0).confidences(scores, scores)
    found = fit(scores, good)
    assert (found.slope, found.intercept) == pytest.approx((9.0, -3.0), rel=0.06)
    report = calibrate(scores, good)
    assert report["ece"] < 2 * report["ece_by_chance"] < 0.03
    assert report["auc"] > 0.7


def test_where_the_likelier_are_worse_the_curve_is_flat():
    scores = np.linspace(-2, 0, 200)
    curve = fit(scores, scores < -1)
    assert curve.slope == 0
    assert curve.confidences(scores, scores) == pytest.approx(0.5)


def test_the_caption_beside_an_alternative_takes_part_where_it_helps():
    rng = np.random.default_rng(0)
    scores, shown = rng.normal(-1.2, 0.4, 20_000), rng.normal(-0.8, 0.3, 20_000)
    good = rng.random(20_000) < Curve(4.0, -5.0, 6.0).confidences(scores, shown)
    found = fit(scores, good, shown)
    assert (found.slope, found.caption_slope, found.intercept) == pytest.approx((4.0, 6.0, -5.0), rel=0.06)
    assert fit(scores, good, -shown - 2).caption_slope == 0  # it would have a negative slope
    report = calibrate(scores, good, shown=shown)
    assert report["auc"] > calibrate(scores, good)["auc"] + 0.05
    assert report["ece"] < 2 * report["ece_by_chance"]


# How reliable


def test_the_expected_calibration_error_of_two_bins_by_hand():
    confidences = np.array([0.9, 0.2, 0.7, 0.4])
    good = np.array([True, False, False, True])
    # Sorted: .2 bad and .4 good, mean .3 against a share of .5; .7 bad and .9 good, mean .8 against .5.
    report = reliability(confidences, good, bins=2)
    assert report["ece"] == pytest.approx((0.2 + 0.3) / 2)
    assert report["bins"] == [
        {"n": 2, "confidence": pytest.approx(0.3), "share": 0.5},
        {"n": 2, "confidence": pytest.approx(0.8), "share": 0.5},
    ]


def test_chance_alone_gives_what_is_said_of_it():
    rng = np.random.default_rng(1)
    confidences = rng.random(500)
    drawn = [reliability(confidences, rng.random(500) < confidences) for _ in range(100)]
    assert np.mean([report["ece"] for report in drawn]) == pytest.approx(drawn[0]["ece_by_chance"], rel=0.06)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 80).flatmap(lambda n: st.tuples(arrays(float, n, elements=st.floats(0, 1)), arrays(bool, n))))
def test_every_caption_is_in_one_bin(data):
    report = reliability(*data)
    assert sum(row["n"] for row in report["bins"]) == len(data[0])
    assert 0 <= report["ece"] <= 1
    means = [row["confidence"] for row in report["bins"]]
    assert all(later >= earlier - 1e-9 for earlier, later in pairwise(means))


@settings(max_examples=20, deadline=None)
@given(arrays(np.float64, MIN_IMAGES, elements=LOG_PROBABILITIES), st.data())
def test_the_odd_rows_take_no_part_in_the_fit(scores, data):
    good = data.draw(arrays(np.bool_, MIN_IMAGES))
    other = data.draw(arrays(np.bool_, MIN_IMAGES))
    other[::2] = good[::2]
    assume((other != good).any())
    one, two = calibrate(scores, good), calibrate(scores, other)
    assert Curve.read(one) == Curve.read(two) == fit(scores[::2], good[::2])


def test_too_few_pictures_are_refused():
    with pytest.raises(InputError, match=f"at least {MIN_IMAGES} captions .* not 99"):
        calibrate(np.zeros(99), np.zeros(99, bool))


# Into a model's folder


def test_a_calibration_lives_with_the_model(calibrated):
    before = json.loads((calibrated / "config.json").read_text())
    report = calibrate(np.linspace(-2, 0, MIN_IMAGES), np.arange(MIN_IMAGES) % 3 > 0)
    report["curves"] = {"normal": dict(report)}
    save_calibration(calibrated, report)
    assert describe(calibrated, "").confidence == {"normal": Curve.read(report)}
    assert report["of"] == PROBABILITY
    after = json.loads((calibrated / "config.json").read_text())
    assert after == before | {"confidence_slope": None, "confidence_intercept": None}  # of an older version
    assert json.loads((calibrated / "confidence.json").read_text()) == report
    assert not list(calibrated.glob("*.tmp"))


def test_the_card_has_the_last_calibration_once(calibrated):
    (calibrated / "README.md").write_text("# Card\n\n## How it was made\n\nBy hand.\n")
    rng = np.random.default_rng(0)
    for slope in (3.0, 6.0):
        scores = rng.normal(-1, 0.5, 400)
        report = calibrate(scores, rng.random(400) < Curve(slope, -1.0).confidences(scores, scores))
        write_confidence(calibrated, report)
    card = (calibrated / "README.md").read_text()
    assert card.count("## Confidence") == 1
    assert f"{report['slope']:.4f} x" in card
    assert card.count("\n| 20 |") == 10
    assert card.endswith("## How it was made\n\nBy hand.\n")
