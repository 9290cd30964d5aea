"""What the Makefile installs by apt, and for which users. This test writes scripts for Python, id and apt-get."""

import os
import subprocess
from pathlib import Path

import pytest

from imgcap.settings import ROOT

ENVIRONMENT = os.environ | {"MAKEFLAGS": ""}  # without what was given to the make that runs these tests


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def make_environment(tmp_path):
    """Run `make .venv/bin/python` with a Python that cannot make virtual environments until apt-get has run."""

    def run(user: int) -> subprocess.CompletedProcess[str]:
        programs = tmp_path / "bin"
        programs.mkdir()
        script(programs / "id", f"echo {user}")
        script(programs / "apt-get", f'echo "apt-get $*"; touch {tmp_path}/installed')
        script(
            programs / "python3.11",
            f"""case "$*" in
              *ensurepip*) test -e {tmp_path}/installed ;;
              *version_info*) echo 3.11 ;;
              "-m venv "*) mkdir -p $3/bin && cp $0 $3/bin/python ;;
            esac""",
        )
        return subprocess.run(
            ["make", "-f", ROOT / "Makefile", "-C", tmp_path, f"PYTHON={programs}/python3.11", ".venv/bin/python"],
            env=ENVIRONMENT | {"PATH": f"{programs}:{os.environ['PATH']}"}, capture_output=True, text=True,
        )  # fmt: skip

    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    return run


def test_a_user_who_is_not_root_is_told_what_to_install_and_apt_is_never_tried(make_environment):
    done = make_environment(1000)
    assert done.returncode != 0
    assert "apt-get " not in done.stdout
    assert "install python3.11-venv, for example with sudo apt-get install python3.11-venv." in done.stderr


def test_root_reads_what_is_installed_before_it_is(make_environment, tmp_path):
    done = make_environment(0)
    assert done.returncode == 0, done.stderr
    said, *commands = [line for line in done.stdout.splitlines() if "python3.11-venv" in line or "apt-get" in line]
    assert said.endswith("installing python3.11-venv with apt-get.")
    assert commands == ["apt-get update -qq", "apt-get install -y -qq python3.11-venv"]
    assert (tmp_path / ".venv" / "bin" / "python").exists()


def test_without_a_python_make_says_which_it_needs(tmp_path):
    done = subprocess.run(
        ["make", "PYTHON=", f"VENV={tmp_path}/venv", "setup"],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode != 0
    assert "imgcap needs Python 3.11, 3.12 or 3.13." in done.stderr
