"""Update the copies of the model's code beside each checkpoint in models/: `make model-code`.

`from_pretrained(..., trust_remote_code=True)` runs those copies, so they must equal the code in imgcap/model.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from transformers.dynamic_module_utils import get_relative_import_files

ROOT = Path(__file__).resolve().parent.parent
ENTRY_MODULES = ("modeling_imgcap.py", "processing_imgcap.py")  # the `auto_map` of config.json names their classes


def pushed_modules() -> set[Path]:
    """Return the modules of a checkpoint: the entry modules and all that they import from their package."""
    entries = [ROOT / "imgcap" / "model" / name for name in ENTRY_MODULES]
    imported = {Path(file) for entry in entries for file in get_relative_import_files(entry)}
    return imported | set(entries)


def copies() -> Iterator[tuple[Path, Path]]:
    """Yield each module and the path of its copy, for every checkpoint in models/."""
    for config in sorted((ROOT / "models").glob("*/config.json")):
        for module in sorted(pushed_modules()):
            yield module, config.parent / module.name


if __name__ == "__main__":
    for module, copy in copies():
        shutil.copyfile(module, copy)
