"""`pip install` of the built wheel with only the dependencies that pyproject.toml declares, run from another folder."""

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pytest
from environments import closure, linked_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from running import run_app

from imgcap.settings import ROOT
from scripts.model_code import copies
from scripts.requirements import requirements

SAMPLES = ROOT / "tests" / "samples"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DECLARED = [
    *PYPROJECT["build-system"]["requires"],
    *PYPROJECT["project"]["dependencies"],
    *(line for line in chain(*PYPROJECT["project"]["optional-dependencies"].values()) if line != "imgcap[torch]"),
    *PYPROJECT["dependency-groups"]["dev"],
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    return next(folder.glob("imgcap-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment that has the wheel and its declared dependencies, and no other package."""
    folder = tmp_path_factory.mktemp("environment")
    python = linked_environment(folder, PYPROJECT["project"]["dependencies"])
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", wheel]
    subprocess.run(pip, check=True)
    return folder / "bin"


def run(installed: Path, folder: Path, *arguments: object, **variables: object) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("IMGCAP_", "PYTHON"))}
    environment = inherited | {name: str(value) for name, value in variables.items()}
    return subprocess.run(
        [installed / "imgcap", *map(str, arguments)],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=200,
    )  # fmt: skip


def test_the_wheel_holds_every_file_of_the_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("imgcap/")}
    files = (path for path in (ROOT / "imgcap").rglob("*") if path.is_file() and path.suffix != ".pyc")
    assert packed == {path.relative_to(ROOT).as_posix() for path in files}


def test_an_installed_copy_captions_an_image(installed, exported_captioner, tmp_path):
    done = run(installed, tmp_path, "caption", SAMPLES / "coffee.jpg", "--json", IMGCAP_MODEL=exported_captioner)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["caption"]


def test_an_installed_copy_without_a_model_says_how_to_get_one(installed, tmp_path):
    done = run(installed, tmp_path, "caption", SAMPLES / "coffee.jpg")
    assert done.returncode == 2
    assert (
        done.stderr == "This copy of imgcap came without a model: set IMGCAP_MODEL to a captioner's folder or Hub id.\n"
    )


def test_a_command_that_needs_more_says_what_to_install(installed, tiny_captioner, tmp_path):
    done = run(installed, tmp_path, "evaluate", "--data", tmp_path, IMGCAP_MODEL=tiny_captioner)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'imgcap[train]'" in done.stderr


def test_an_installed_copy_starts_the_app(installed, exported_captioner, tmp_path):
    with run_app(tmp_path / "data", exported_captioner, [installed / "imgcap", "serve"], tmp_path) as app:
        client = app.newcomer()
        assert client.get("/").status_code == 200
        assert client.get("/account").status_code == 200
        assert app.stop() == 0


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_are_those_of_pyproject(name):
    assert (ROOT / name).read_text() == requirements()[name], "run `make requirements`"


def test_constraints_hold_the_version_of_every_package():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    held = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    for requirement in map(Requirement, DECLARED):
        assert str(requirement.specifier) == f"=={held.get(canonicalize_name(requirement.name))}", requirement
    platform = ("nvidia-", "cuda-", "triton", "setuptools", "pip")  # torch itself pins what its build needs
    assert {name for name in closure(DECLARED) if not name.startswith(platform)} <= held.keys()


def test_the_code_beside_each_checkpoint_is_the_models_code():
    pairs = list(copies())
    assert len({copy.parent for _, copy in pairs}) == 2
    for module, copy in pairs:
        assert copy.read_text() == module.read_text(), f"{copy} is out of date: run `make model-code`"
