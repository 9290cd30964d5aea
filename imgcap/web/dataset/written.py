"""Keep the captions that the model has written of a test split in a file, so that each is written only once."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from imgcap import inference
from imgcap.errors import InputError
from imgcap.inference.engines.choice import find_served_folder
from imgcap.settings import Settings

logger = logging.getLogger(__name__)


class WrittenCaptions:
    """The file of the captions of one split by one captioner as it is now.

    The file's name is a digest of all that a caption follows from: the settings of captions, the captioner's files, the
    code of `imgcap.inference`, and the split, so that other captions are never taken for these.

    Args:
        folder: where the file is.
        settings: the captioner's settings.
        references: people's captions of each image, by which the split is known.
    """

    def __init__(self, folder: Path, settings: Settings, references: Sequence[Sequence[str]]) -> None:
        known = hashlib.sha256()
        known.update(json.dumps([settings.model, settings.engine, settings.unfamiliar, settings.name_sex]).encode())
        known.update(json.dumps(_files_of(settings)).encode())
        for path in sorted(Path(next(iter(inference.__path__))).rglob("*.py")):
            known.update(path.read_bytes())
        known.update(json.dumps(references).encode())
        self._path = folder / f"test-split-{known.hexdigest()[:16]}.json"

    def read(self) -> dict[int, str | None]:
        """Return the captions by the image's number; none if there is no file, or it is damaged."""
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return {int(number): caption for number, caption in kept.items()}

    def save(self, captions: Mapping[int, str | None]) -> None:
        """Write the captions to the file. If that fails, the reason is only logged."""
        try:
            new = self._path.with_suffix(".new")
            new.write_text(json.dumps(captions), encoding="utf-8")
            new.replace(self._path)
        except OSError as error:
            logger.warning("The captions of the test split could not be kept: %s", error.strerror)


def _files_of(settings: Settings) -> list[tuple[str, int, int]]:
    """Return the name, size and time of each file that a captioner writes by; none if there is no captioner."""
    try:
        folder = find_served_folder(settings.model, settings.engine)
    except InputError:
        return []
    paths = sorted(path for pattern in ("*.json", "*.safetensors", "onnx/*") for path in folder.glob(pattern))
    facts = [(path.relative_to(folder).as_posix(), path.stat()) for path in paths]
    return [(name, fact.st_size, fact.st_mtime_ns) for name, fact in facts]
