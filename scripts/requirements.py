"""Write requirements.txt and requirements-dev.txt from pyproject.toml: `make requirements`."""

import tomllib
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Written by `make requirements` from pyproject.toml: change it there.\n"


def requirements() -> dict[str, str]:
    """Return the contents of the two files: a Space installs the first, and the tests also need the second."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, groups = pyproject["project"], pyproject["dependency-groups"]
    extras = chain(*project["optional-dependencies"].values())
    packages = project["dependencies"] + [package for package in extras if not package.startswith("imgcap[")]
    return {
        "requirements.txt": HEADER + _lines(packages),
        "requirements-dev.txt": HEADER + "-r requirements.txt\n" + _lines(groups["dev"]),
    }


def _lines(packages: list[str]) -> str:
    return "".join(f"{package}\n" for package in sorted(packages, key=str.casefold))


if __name__ == "__main__":
    for name, text in requirements().items():
        (ROOT / name).write_text(text)
