"""Read the test split of a data set in the layout of `jxie/flickr8k`: Parquet files, read by pyarrow alone.

Serving does not import `datasets`.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from imgcap.errors import InputError

GROUPS_IN_MEMORY = 2
MISSING = "The data set is read by pyarrow, which is not installed: pip install 'imgcap[dataset]'."
LAYOUT = (
    "The data set has no test split in the layout of jxie/flickr8k: Parquet files with 'test' in their names, and the "
    "columns image and caption_0, caption_1, ..."
)
NO_PICTURE = "The test split has no such picture."


class SplitFiles:
    """The images of a test split with people's captions; the images stay in their files until they are asked for.

    Args:
        source: a folder, or the id of a data set on the Hub, which is downloaded.

    Raises:
        InputError: the data set cannot be found or read, or has another layout.
    """

    def __init__(self, source: str) -> None:
        self.references: list[tuple[str, ...]] = []
        """People's captions of each image."""
        self._groups: list[tuple[int, Path, int]] = []  # number of images, file, row group
        self._read_group = lru_cache(GROUPS_IN_MEMORY)(_read_pictures)
        for path in _find_files(source):
            references, sizes = _read_captions(path)
            for group, size in enumerate(sizes):
                self._groups.append((size, path, group))
            self.references += references

    def read_picture(self, number: int) -> bytes:
        """Return an image as it is stored. Raises InputError if it does not exist."""
        for size, path, group in self._groups:
            if 0 <= number < size:
                return self._read_group(path, group)[number]
            number -= size
        raise InputError(NO_PICTURE)


def _find_files(source: str) -> list[Path]:
    """Return the Parquet files of the test split in a folder or in a data set on the Hub."""
    folder = Path(source)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(source, repo_type="dataset", allow_patterns="*test*.parquet"))
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError):
            raise InputError(
                "IMGCAP_DATASET names neither a folder nor a data set that the Hub gives to this server: check it."
            ) from None
    found = sorted(path for path in folder.rglob("*.parquet") if "test" in path.name)
    if not found:
        raise InputError(LAYOUT)
    return found


def _read_captions(path: Path) -> tuple[list[tuple[str, ...]], list[int]]:
    """Return people's captions of each image in a file, and the number of images in each of its row groups."""
    file = _open(path)
    columns = sorted(name for name in file.schema_arrow.names if name.startswith("caption_"))
    if not columns or "image" not in file.schema_arrow.names:
        raise InputError(LAYOUT)
    captions = zip(*(file.read(columns=[column]).column(0).to_pylist() for column in columns), strict=True)
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    return [tuple(str(caption).strip() for caption in own) for own in captions], sizes


def _read_pictures(path: Path, group: int) -> Sequence[bytes]:
    """Return the encoded images of a row group."""
    pictures = _open(path).read_row_group(group, columns=["image"]).column(0).to_pylist()
    return [bytes(picture["bytes"] or b"") for picture in pictures]


def _open(path: Path) -> Any:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise InputError(MISSING) from None
    return parquet.ParquetFile(path)
