import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from imgcap.blur import calibration
from imgcap.blur.calibration import at_working_size, auc, auc_interval, roc, score, threshold_for
from imgcap.blur.degradations import BLURS, HARMLESS, gaussian, linear_motion, shaken_motion
from imgcap.cli.blur import calibrate_blur
from imgcap.errors import InputError
from imgcap.images.limits import ImageLimits
from imgcap.images.loading import ImageLoader

read_file = ImageLoader(ImageLimits()).read_file

SAMPLES = Path(__file__).parents[1] / "samples"
app = typer.Typer()
app.command()(calibrate_blur)
scores = st.lists(st.integers(0, 20), min_size=1, max_size=30).map(lambda values: np.array(values, float))


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two sharp photographs, and their blurred copies."""
    sharp, blurred = tmp_path / "sharp", tmp_path / "blurred"
    sharp.mkdir()
    blurred.mkdir()
    for name in ("coffee.jpg", "chelsea.png"):
        shutil.copy(SAMPLES / name, sharp)
        soft = gaussian(4)(read_file(SAMPLES / name), np.random.default_rng(0))
        Image.fromarray(soft).save((blurred / name).with_suffix(".png"))
    return sharp, blurred


@settings(deadline=None)
@given(scores, scores)
def test_auc_is_the_share_of_pairs_in_order(sharp, blurred):
    pairs = (sharp[:, None] > blurred) + 0.5 * (sharp[:, None] == blurred)
    assert auc(sharp, blurred) == pytest.approx(pairs.mean())


@settings(deadline=None)
@given(scores, st.floats(0, 0.5))
def test_the_threshold_refuses_no_more_than_wanted_and_no_higher_one_would_do(sharp, share):
    threshold = threshold_for(sharp, share)
    assert (sharp < threshold).mean() <= share + 1e-9
    assert (sharp < np.nextafter(threshold, np.inf)).mean() > share - 1e-9


@settings(deadline=None)
@given(scores, scores)
def test_the_curve_never_turns_back(sharp, blurred):
    _, refused_sharp, refused_blurred = zip(*roc(sharp, blurred), strict=True)
    assert list(refused_sharp) == sorted(refused_sharp)
    assert list(refused_blurred) == sorted(refused_blurred)


@pytest.fixture
def few_resamples(monkeypatch):
    monkeypatch.setattr(calibration, "RESAMPLES", 100)


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("paired", [True, False])
def test_the_interval_holds_the_area_and_narrows_with_more_pictures(paired):
    rng = np.random.default_rng(0)
    widths = []
    for n in (20, 500):
        sharp, blurred = rng.normal(1, 1, n), rng.normal(0, 1, (n, 2))
        low, high = auc_interval(sharp, blurred, paired)
        assert low < auc(sharp, blurred.ravel()) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_labelled_folders(folders):
    sharp, blurred = folders
    (sharp / "notes.txt").write_text("no picture")
    result = run("--sharp", sharp, "--blurred", blurred, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["sharp"], found["blurred"], found["skipped"]) == (2, 2, 1)
    assert found["auc"] == 1
    assert found["caught"] == 1
    assert found["threshold"] == pytest.approx(score(read_file(sharp / "chelsea.png")))


def test_synthetic_blur(folders, tmp_path):
    plot = tmp_path / "roc.png"
    result = run("--synthesise", folders[0], "--false-reject", "0", "--plot", plot)
    assert result.exit_code == 0, result.output
    assert "AUC" in result.stdout
    assert "IMGCAP_BLUR_THRESHOLD=" in result.stdout
    for kind in (*BLURS, *(f"sharp, {kind}" for kind in HARMLESS)):
        assert f"%  {kind}\n" in result.stdout
    with Image.open(plot) as picture:
        assert picture.size == (500, 500)


@pytest.mark.usefixtures("few_resamples")
def test_the_same_seed_gives_the_same_answer(folders):
    first, second = (run("--synthesise", folders[0], "--json").stdout for _ in range(2))
    assert first == second


@pytest.mark.parametrize("arguments", [(), ("--sharp", SAMPLES), ("--synthesise", SAMPLES, "--sharp", SAMPLES)])
def test_one_way_of_asking_at_a_time(arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "either --sharp and --blurred, or --synthesise" in " ".join(result.output.replace("│", " ").split())


def test_a_folder_without_pictures_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    result = run("--synthesise", tmp_path)
    assert isinstance(result.exception, InputError)
    assert str(tmp_path) in str(result.exception)


def test_a_working_size_is_never_an_enlargement():
    assert at_working_size(np.zeros((1000, 600, 3), np.uint8)).shape == (500, 300, 3)
    assert at_working_size(np.zeros((100, 60, 3), np.uint8)).shape == (100, 60, 3)


@pytest.mark.parametrize("name", [*BLURS, *HARMLESS])
def test_degradations_keep_shape_type_and_roughly_the_light(name):
    photo = read_file(SAMPLES / "chelsea.png")
    degraded = (BLURS | HARMLESS)[name](photo, np.random.default_rng(0))
    assert degraded.shape == photo.shape
    assert degraded.dtype == np.uint8
    expected = photo.mean() * (0.4 if "light" in name else 1)
    assert degraded.mean() == pytest.approx(expected, abs=3)


def test_motion_spreads_a_point_along_its_path():
    point = np.zeros((41, 41, 3), np.uint8)
    point[20, 20] = 255
    rng = np.random.default_rng(0)
    across = linear_motion(9, 0)(point, rng)[..., 0]
    assert (across > 0).any(axis=0).sum() in (9, 10)
    assert (across > 2).any(axis=1).sum() == 1
    assert 9 <= (shaken_motion(25)(point, rng)[..., 0] > 0).sum() <= 200
