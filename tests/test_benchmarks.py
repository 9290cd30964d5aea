"""Each benchmark starts as its documentation says; what they measure is for people to read, not for tests to judge."""

import subprocess
import sys

import pytest

from imgcap.settings import ROOT

BENCHMARKS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_it_says_how_it_is_used(name):
    source = (ROOT / "benchmarks" / f"{name}.py").read_text()
    assert f"python -m benchmarks.{name}" in source
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout


def test_the_blur_check_is_timed_beside_the_decode():
    command = [sys.executable, "-m", "benchmarks.blur_speed", "tests/samples/coffee.jpg", "--repeats", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "blur.measure" in done.stdout
