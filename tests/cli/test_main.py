import errno
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from processes import run_python

from imgcap import __version__
from imgcap.cli.main import main
from imgcap.errors import InputError
from imgcap.settings import ROOT

SAMPLES = ROOT / "tests" / "samples"


@pytest.fixture
def imgcap(tiny_captioner):
    def run(*arguments):
        environment = os.environ | {"IMGCAP_MODEL": str(tiny_captioner)}
        return run_python(["-m", "imgcap", *arguments], ROOT, environment)

    return run


def test_one_json_object_a_line_and_a_bad_input_does_not_stop_the_rest(imgcap, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    sources = [SAMPLES / "coffee.jpg", tmp_path / "notes.txt", SAMPLES / "clock_motion.png", "ftp://example.org/a.jpg"]
    done = imgcap("caption", *sources, "--json")
    assert done.returncode == 1, done.stderr
    sharp, text, blurred, link = (json.loads(line) for line in done.stdout.splitlines())
    assert list(sharp) == [
        "source", "valid", "reason", "blur_variance", "threshold", "caption", "confidence", "alternatives", "error",
        "warning",
    ]  # fmt: skip
    assert sharp["valid"] is True
    assert sharp["caption"]
    assert 0 < sharp["confidence"] < 1
    assert (blurred["valid"], blurred["reason"], blurred["caption"], blurred["error"]) == (False, "shaken", None, None)
    assert text["error"]
    assert link["error"]
    assert "Traceback" not in done.stderr


def test_an_invalid_picture_is_no_error(imgcap):
    done = imgcap("caption", SAMPLES / "clock_motion.png", SAMPLES / "coffee.jpg")
    assert done.returncode == 0
    assert re.search(r"coffee.jpg: [A-Z].+\. \(\d\d?% sure, variance", done.stdout)
    assert "too shaken to describe" in done.stdout


def test_errors_are_apart_from_captions_and_a_name_stays_on_its_line(imgcap, tmp_path):
    strange = tmp_path / "two\nlines\x1b[31m and Füße 猫.jpg"
    shutil.copy(SAMPLES / "coffee.jpg", strange)
    done = imgcap("caption", strange, tmp_path / "no\nsuch.jpg")
    assert done.returncode == 1
    (captioned,) = done.stdout.splitlines()
    assert captioned.startswith(f"{tmp_path}/two\\nlines\\x1b[31m and Füße 猫.jpg: ")
    (refused,) = done.stderr.splitlines()
    assert refused == f"{tmp_path}/no\\nsuch.jpg: There is no file of that name: check how it is written."


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 1, "No space left on device."),
        (PermissionError(errno.EACCES, "Permission denied", "a/b.onnx"), 1, "Permission denied (a/b.onnx)."),
        (InputError("The name is taken."), 2, "The name is taken."),
    ],
)
def test_what_stops_a_command_is_one_sentence(error, status, said, monkeypatch, capsys):
    def fail() -> None:
        raise error

    monkeypatch.setattr("imgcap.cli.main.app", fail)
    with pytest.raises(SystemExit) as stopped:
        main()
    printed = capsys.readouterr()
    assert (stopped.value.code, printed.out) == (status, "")
    assert printed.err.endswith(f"{said}\n")
    assert len(printed.err.splitlines()) == 1


def test_the_version_is_printed(imgcap):
    assert imgcap("--version").stdout == f"imgcap {__version__}\n"


def test_evaluate_prints_json_and_words_and_writes_a_report(imgcap, caption_folder, tmp_path, monkeypatch):
    done = imgcap("evaluate", "--data", caption_folder, "--split", "validation", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n"] == 6
    assert json.loads(done.stdout)["METEOR"] is not None
    monkeypatch.setenv("PATH", "")  # no Java
    report = tmp_path / "report.html"
    done = imgcap("evaluate", "--data", caption_folder, "--split", "validation", "--limit", "1", "--report", report)
    assert ", 1 image\n" in done.stdout
    assert re.search(r"^BLEU-1 +\d\.\d{3}$", done.stdout, re.MULTILINE)  # a single image has no interval
    assert report.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "CIDEr" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("caption", "a.jpg", "--length", "huge"), "length must be short, normal or long"),
        (("evaluate", "--report", "no/where/report.html"), "There is no folder 'no/where' for the report"),
        (("calibrate-blur", "--synthesise", "tests", "--plot", "no/where/roc.png"), "There is no folder 'no/where'"),
        (("calibrate-blur", "--synthesise", "tests", "--plot", "roc.txt"), "end its name in one of .avif"),
        (("evaluate", "--data", "no/where"), "There is no folder 'no/where', and the Hub cannot be reached"),
    ],
)
def test_a_users_mistake_is_one_sentence(imgcap, arguments, message):
    done = imgcap(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


HEAVY = {"alembic", "cv2", "datasets", "evaluate", "gradio", "httpx", "matplotlib", "numpy", "PIL", "pydantic",
         "sqlalchemy", "torch", "transformers"}  # fmt: skip


def modules_after(*arguments: object, model: object = "") -> set[str]:
    """The top-level modules that a command has imported when it ends."""
    code = (
        "import sys\nfrom imgcap.cli.main import main\n"
        "try: main()\nfinally: print('\\n', *sys.modules, sep='\\n', file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT, env=os.environ | {"IMGCAP_MODEL": str(model)}, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stderr.splitlines()}


def test_help_imports_none_of_the_libraries_that_commands_need():
    assert modules_after("--help") & HEAVY == set()


def test_caption_imports_neither_the_web_app_nor_what_trains_and_evaluates(exported_captioner):
    imported = modules_after("caption", SAMPLES / "coffee.jpg", model=exported_captioner)
    assert imported & {"gradio", "sqlalchemy", "datasets", "evaluate", "matplotlib", "omegaconf", "torch"} == set()
    assert {"numpy", "cv2"} <= imported
