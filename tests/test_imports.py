"""pyproject.toml says which package may import which; import-linter checks the code against it."""

import subprocess
import sys
from pathlib import Path

from imgcap.settings import ROOT


def test_the_packages_import_only_what_the_contracts_allow():
    # import-linter disables all loggers, so it runs in a separate process.
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
