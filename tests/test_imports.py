"""Who may import whom is written in pyproject.toml; import-linter holds the code to it."""

import subprocess
import sys
from pathlib import Path

from imgcap.settings import ROOT


def test_the_packages_import_only_what_the_contracts_allow():
    # In a process of its own: it disables all loggers that there are.
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
