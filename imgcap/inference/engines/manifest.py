"""Write and check `onnx/export.json`, which records the source of the exported files and their digests."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from imgcap.errors import InputError
from imgcap.inference.files import CONFIG, TOKENIZER, WEIGHTS

FOLDER, MANIFEST = "onnx", "export.json"
SHAPE = (
    "encoder", "decoder", "decoders", "vocab_size", "hidden_size", "num_attention_heads", "image_size",
)  # fmt: skip
"""Fields of config.json that the graphs depend on; the others may change without a new export."""

LAYOUT = 3
"""Number of the layout of the graphs' inputs and outputs; files with another layout are refused."""


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(folder: Path) -> dict[str, Any]:
    """Return what identifies the captioner in `folder`: digests of weights and words, and the shape."""
    config = json.loads((folder / CONFIG).read_text())
    weights = folder / WEIGHTS
    return {
        "weights": digest(weights) if weights.is_file() else None,
        "tokenizer": digest(folder / TOKENIZER),
        **{name: config.get(name) for name in SHAPE},
    }


def write_manifest(target: Path, source: dict[str, Any], files: Iterable[Path], calibration: int) -> None:
    """Write `export.json` into the folder of the exported files."""
    fields = {
        "layout": LAYOUT,
        "source": source,
        "calibration_pictures": calibration,
        "files": {path.name: {"sha256": digest(path), "bytes": path.stat().st_size} for path in files},
    }
    (target / MANIFEST).write_text(json.dumps(fields, indent=2) + "\n")


def check_manifest(folder: Path, names: Iterable[str]) -> None:
    """Check that these files in `folder`/onnx are complete and were exported from the captioner in `folder`.

    Raises:
        InputError: a file is missing, damaged, from another captioner or from another version of this package; the
            sentence says which.
    """
    target = folder / FOLDER
    try:
        manifest = json.loads((target / MANIFEST).read_text())
        source, files = dict(manifest["source"]), dict(manifest["files"])
    except FileNotFoundError:
        raise InputError(f"{target} holds no exported model") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{target / MANIFEST} is damaged") from None
    ours = fingerprint(folder)
    # A folder that is only used for serving may lack the weights that the files were made from.
    if any(source.get(name) != value for name, value in ours.items() if name != "weights" or value is not None):
        raise InputError(f"{target} was exported from another captioner")
    if manifest.get("layout") != LAYOUT:
        raise InputError(f"{target} was exported by another version of imgcap")
    for name in names:
        path = target / name
        if name not in files or not path.is_file():
            raise InputError(f"{path} is missing")
        if path.stat().st_size != files[name]["bytes"] or digest(path) != files[name]["sha256"]:
            raise InputError(f"{path} is damaged")


def keep_only(target: Path, names: Iterable[str]) -> None:
    """Delete the exported files with other names, and their entries in `export.json`."""
    path, kept = target / MANIFEST, set(names)
    fields = json.loads(path.read_text())
    for name in fields["files"].keys() - kept:
        (target / name).unlink()
    fields["files"] = {name: facts for name, facts in fields["files"].items() if name in kept}
    path.write_text(json.dumps(fields, indent=2) + "\n")


def read_check(folder: Path) -> dict[str, Any] | None:
    """Return the result that `add_check` stored for the captioner in `folder`; None without one."""
    path = folder / FOLDER / MANIFEST
    return json.loads(path.read_text()).get("check") if path.is_file() else None


def add_check(target: Path, result: dict[str, Any]) -> None:
    """Store the scores of the exported files in `export.json`."""
    path = target / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"check": result}, indent=2) + "\n")
