"""The audit of the pinned versions fails at advisories with a fix, and at packages that it could not look up."""

import json
import subprocess
import sys
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement

from imgcap.settings import ROOT
from scripts.audit import ACCEPTED, judge

UNKNOWN = {"name": "jinja2", "skip_reason": "Dependency not found on PyPI and could not be audited: jinja2 (3.1)"}


def package(name, *fixes, version="12.3.0"):
    advisories = [{"id": f"PYSEC-{n}", "fix_versions": list(versions)} for n, versions in enumerate(fixes)]
    return {"name": name, "version": version, "vulns": advisories}


@pytest.mark.parametrize(
    ("found", "failing", "accepted"),
    [
        (package("jinja2"), 0, 0),
        (package("jinja2", ["3.2.0"]), 1, 0),
        (package("jinja2", []), 0, 1),  # no version mends it yet
        (package("pillow", ["13.0.0"]), 0, 1),
        (package("Pillow", ["13.0.0", "13.1.0"], ["12.4.0", "13.0.0"]), 1, 1),
        (UNKNOWN, 1, 0),
    ],
)
def test_what_fails_and_what_is_accepted(found, failing, accepted):
    assert tuple(map(len, judge({"dependencies": [package("numpy"), found]}))) == (failing, accepted)


@pytest.mark.parametrize("packages", [[], [UNKNOWN, UNKNOWN]])
def test_it_fails_once_where_nothing_was_looked_up(packages):
    (line,), _ = judge({"dependencies": packages})
    assert line.startswith("No package could be looked up")


@pytest.mark.parametrize(("fixes", "status"), [([], 0), (["9.0"], 1)])
def test_it_reads_what_pip_audit_prints(fixes, status):
    found = json.dumps({"dependencies": [package("torch", fixes)] if fixes else [package("torch")], "fixes": []})
    done = subprocess.run(
        [sys.executable, "-m", "scripts.audit"], cwd=ROOT, input=found, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    assert "1 packages" in done.stdout


def test_an_exception_stands_only_while_gradio_does_not_allow_the_fixed_version():
    for name, major in ACCEPTED.items():
        wanted = [Requirement(line) for line in requires("gradio") if Requirement(line).name == name]
        assert not any(requirement.specifier.contains(f"{major}.0.0") for requirement in wanted), (
            f"gradio allows {name} {major}: pin it, and take the exception out of scripts/audit.py"
        )
        assert wanted
