"""Collect the content of a model's repository: the captioner with its code, its ONNX files and its card."""

import json
from collections.abc import Mapping
from importlib.metadata import requires
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard
from packaging.requirements import Requirement

from imgcap.errors import InputError
from imgcap.hub.card import DATA, MODEL
from imgcap.hub.push import Content
from imgcap.inference.engines.manifest import FOLDER, MANIFEST, check_manifest
from imgcap.inference.files import FILES, describe

HERE = Path(__file__).parent
EXAMPLES = HERE / "examples"
RECORDS = ("*.json", "*.jsonl", "*.md", "*.py", "*.safetensors", "*.yaml", "stages/*/*", f"{FOLDER}/*.onnx")
SCORING = ("__init__.py", "errors.py", "reading.py", "data", "evaluation", "images", "inference", "model")
"""The part of this package that scores a captioner; it is pushed too, so that `reproduce.py` needs nothing else."""
OWNED = (f"{FOLDER}/*", "stages/*", "code/*", "examples/*", "reproduce.py")


def model_content(folder: Path, repo: str) -> Content:
    """Return the content of a captioner's repository.

    Args:
        folder: folder of a captioner with its card, as written by `train.py`.
        repo: the repository's id, which the card and its script name.

    Raises:
        InputError: the folder lacks a file of the captioner, or its ONNX files belong to another captioner.
    """
    _check(folder)
    files: dict[str, Path | bytes] = {
        path.relative_to(folder).as_posix(): path
        for pattern in RECORDS
        for path in sorted(folder.glob(pattern))
        if path.is_file()
    }
    if has_onnx(folder):
        files[f"{FOLDER}/{MANIFEST}"] = folder / FOLDER / MANIFEST
    files |= {f"examples/{path.name}": path for path in sorted(EXAMPLES.iterdir())}
    files |= {f"code/imgcap/{name}": path for name, path in package_files(SCORING).items()}
    card = ModelCard.load(folder / "README.md")
    data = card.data.datasets or [""]
    files["README.md"] = _with_examples(card, caption_examples(folder)).replace(MODEL, repo).encode()
    files["reproduce.py"] = _script(repo, data[0]).encode()
    return Content("model", files, OWNED)


def has_onnx(folder: Path) -> bool:
    """Return whether a captioner has ONNX files.

    Raises:
        InputError: the files are damaged or belong to another captioner.
    """
    if not (folder / FOLDER / MANIFEST).is_file():
        return False
    names = json.loads((folder / FOLDER / MANIFEST).read_text()).get("files", {})
    try:
        check_manifest(folder, names)
    except InputError as error:
        raise InputError(f"{error}: run `imgcap export {folder}` again, or remove {folder / FOLDER}.") from None
    return True


def caption_examples(folder: Path) -> dict[str, str]:
    """Return the caption of the captioner in `folder` for each example image, by the image's name."""
    import numpy as np
    from PIL import Image

    from imgcap.inference.engines.choice import open_engine
    from imgcap.inference.writer import Writer

    description = describe(folder, str(folder))
    writer = Writer(open_engine(description, "auto", str(folder))[0], description)
    pictures = sorted(EXAMPLES.glob("*.jpg"))
    pixels = [writer.prepare(np.asarray(Image.open(path).convert("RGB"))) for path in pictures]
    written = writer.captions(writer.write(np.stack(pixels), "normal"))
    return {path.name: one.caption for path, one in zip(pictures, written, strict=True)}


def package_files(parts: tuple[str, ...] = (".",)) -> dict[str, Path]:
    """Return the files of some parts of this package, or of the whole package, by their paths below `imgcap`."""
    package = HERE.parent
    found = (path for part in parts for path in sorted([package / part, *(package / part).rglob("*")]))
    return {
        path.relative_to(package).as_posix(): path
        for path in found
        if path.is_file() and path.suffix != ".pyc" and "__pycache__" not in path.parts
    }


def requirements(*extras: str, without: frozenset[str] = frozenset()) -> list[str]:
    """Return the requirements of this package and some of its extras, without the packages in `without`."""
    declared = [one for one in map(Requirement, requires("imgcap") or []) if one.name not in without]
    chosen = [{"extra": extra} for extra in ("", *extras)]
    wanted = [one for one in declared if one.marker is None or any(map(one.marker.evaluate, chosen))]
    for one in wanted:
        one.marker = None
    return sorted(map(str, wanted), key=str.casefold)


def _check(folder: Path) -> None:
    missing = [name for name in ("README.md", *FILES) if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"The folder {str(folder)!r} lacks {missing[0]} and cannot be pushed: give one that train.py wrote."
        )
    describe(folder, str(folder))
    modules = {reference.partition(".")[0] for reference in _auto_map(folder).values()}
    for module in sorted(modules):
        if not (folder / f"{module}.py").is_file():
            raise InputError(f"The folder {str(folder)!r} lacks {module}.py, without which nobody can load the model.")


def _auto_map(folder: Path) -> dict[str, str]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return dict(config.get("auto_map", {}))


def _with_examples(card: ModelCard, captions: Mapping[str, str]) -> str:
    """Return a card whose front matter shows the example images with the model's captions."""
    card.data["widget"] = [
        {"src": f"examples/{name}", "example_title": Path(name).stem.capitalize(), "output": {"text": caption}}
        for name, caption in captions.items()
    ]
    return str(card)


def _script(repo: str, data: str) -> str:
    packages = "".join(f'#   "{one}",\n' for one in requirements("train"))
    script = (HERE / "reproduce.py").read_text().replace(MODEL, repo).replace(DATA, data)
    return script.replace("# dependencies = []\n", f"# dependencies = [\n{packages}# ]\n")
