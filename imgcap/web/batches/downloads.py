"""Export a batch as a table, as lines of JSON, and as a ZIP archive of the images with their captions."""

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from imgcap.accounts.history import csv_cell
from imgcap.errors import InputError
from imgcap.images.alt_text import AltTextWriter
from imgcap.web.batches.batch import Item

COLUMNS = (
    "source", "valid", "reason", "blur_variance", "threshold", "caption", "confidence", "error", "warning",
    "model_caption",
)  # fmt: skip
Form = Literal["alt", "text"]
"""The place of captions: in the copies as alternative texts, or beside the copies as text files."""


def to_csv(items: Iterable[Item]) -> str:
    """Return the items as CSV (RFC 4180) in which no cell is a spreadsheet formula."""
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(COLUMNS)
    for item in items:
        reading = item.as_reading()
        writer.writerow(csv_cell(reading[column]) for column in COLUMNS)
    return table.getvalue()


def to_jsonl(items: Iterable[Item]) -> str:
    """Return one JSON object per line, with the fields of every interface and `model_caption`."""
    return "".join(f"{json.dumps(item.as_reading())}\n" for item in items)


def zip_of_copies(
    pictures: Iterable[tuple[Item, Path]], form: Form, writer: AltTextWriter, *, overwrite: bool
) -> Iterator[bytes]:
    """Yield, in parts, a ZIP archive of the images that have a caption and of a table with the outcome of each.

    Args:
        pictures: items and the paths of their files.
        form: "alt" writes each caption into its copy. If the copy cannot hold it, and for "text", the caption is in a
            file beside the copy, with the same name and `.txt`.
        writer: writes alternative texts.
        overwrite: whether to replace alternative texts that images already have.
    """
    sink = _Sink()
    outcomes: list[tuple[str, str, str]] = []
    names: set[str] = set()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for item, path in pictures:
            if item.state != "done" or not item.text:
                outcomes.append((item.name, "", item.error or "not in the archive: it has no caption"))
                continue
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                outcomes.append((item.name, item.text, "not in the archive: its file was deleted"))
                continue
            name = _unique(item.name, names)
            copy, outcome = _describe(data, item.text, form, writer, overwrite=overwrite)
            archive.writestr(name, copy)
            if outcome.startswith("beside"):
                archive.writestr(_unique(f"{name}.txt", names), f"{item.text}\n")
            outcomes.append((name, item.text, outcome))
            yield sink.take()
        archive.writestr(_unique("captions.csv", names), _table(outcomes))
    yield sink.take()


def _describe(data: bytes, caption: str, form: Form, writer: AltTextWriter, *, overwrite: bool) -> tuple[bytes, str]:
    """Return the copy, and a phrase that says where its caption is."""
    if form == "text":
        return data, "beside it as text"
    try:
        described = writer.write(data, caption, overwrite=overwrite)
    except InputError as error:
        return data, f"beside it as text. {error}"
    if described.written:
        return described.data, "written as alternative text"
    return data, "not written: the picture's own alternative text was kept"


def _table(rows: list[tuple[str, str, str]]) -> str:
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(("file", "caption", "outcome"))
    writer.writerows(map(csv_cell, row) for row in rows)
    return table.getvalue()


def _unique(name: str, names: set[str]) -> str:
    """Return the name, with a number if the archive already has it, and add it to `names`."""
    path, number = PurePosixPath(name), 1
    while str(path).casefold() in names:
        number += 1
        path = PurePosixPath(name).with_stem(f"{PurePosixPath(name).stem} ({number})")
    names.add(str(path).casefold())
    return str(path)


class _Sink(io.RawIOBase):
    """A file for `ZipFile` to write to; `take` returns the bytes written since the last call."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, part: Any) -> int:
        """Store the bytes until `take`."""
        self._parts.append(bytes(part))
        return len(self._parts[-1])

    def take(self) -> bytes:
        """Return what was written since the last call."""
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken
