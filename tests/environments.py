"""Virtual environments that hold only some packages of the current one."""

import sys
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def linked_environment(folder: Path, requirements: list[str]) -> Path:
    """Make an environment with the required packages and their dependencies, and return its Python.

    The packages are links into this environment, which spares downloading gigabytes; a package that somebody needs and
    does not declare, directly or through another, is missing there as it would be after `pip install`.
    """
    venv.create(folder, with_pip=False)
    [packages] = folder.glob("lib/python*/site-packages")
    for package in closure(requirements).values():
        for file in package.files or ():
            place = packages / file.parts[0]
            if file.parts[0] not in {"..", "__pycache__"} and not place.exists():
                place.symlink_to(Path(package.locate_file(file.parts[0])))
    # OpenCV looks beside its real file. Without this it would import itself where the links' folder is the current one,
    # as it is for the processes that decode images.
    (packages / "sitecustomize.py").write_text("import sys\n\nsys.OpenCV_REPLACE_SYS_PATH_0 = True\n")
    return folder / "bin" / Path(sys.executable).name


def closure(requirements: list[str]) -> dict[str, Distribution]:
    """Return the distributions that the requirements name, with their dependencies, by canonical name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    wanted = [(Requirement(text), "") for text in requirements]
    while wanted:
        requirement, extra = wanted.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        found[name] = distribution(name)
        for chosen in {"", *requirement.extras}:
            if (name, chosen) not in seen:
                seen.add((name, chosen))
                wanted += [(Requirement(text), chosen) for text in found[name].requires or ()]
    return found
