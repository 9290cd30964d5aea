"""Read the files in a ZIP archive within limits, whatever its directory claims.

The names in an archive are only shown: no path of this machine is made from them. Files may be stored or compressed by
Deflate; other methods can demand any amount of memory and are hardly ever used for photographs.
"""

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from imgcap.errors import InputError

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
END = struct.Struct("<4s4H2LH")
"""The record at an archive's end (APPNOTE 4.3.16)."""
MOST_COMMENT = 65_535
DIRECTORY_BYTES = 4 * 2**20
"""The largest directory that is read: each entry of 46 bytes or more becomes half a kilobyte of Python objects."""
NAME_LENGTH = 200
LITTER = {".ds_store", "thumbs.db", "desktop.ini"}
DAMAGED = "The archive is damaged or no ZIP file: pack the pictures again."


@dataclass(frozen=True)
class Member:
    """A file of an archive: its content, or a sentence that says why it could not be read."""

    name: str
    data: bytes
    error: str = ""


def is_archive(path: Path) -> bool:
    """Return whether the file at `path` begins like a ZIP archive."""
    with path.open("rb") as file:
        return file.read(4) in MAGIC


def read_archive(path: Path, *, most_files: int, file_bytes: int, total_bytes: int) -> Iterator[Member]:
    """Yield the files of a ZIP archive, without its folders and without files that systems add.

    Args:
        path: of the archive.
        most_files: number of files that it may hold.
        file_bytes: unpacked size above which a file is not read.
        total_bytes: unpacked size of all files together, above which reading stops.

    Raises:
        InputError: the archive is damaged, holds no file or too many, or unpacks to more than `total_bytes`.
    """
    with path.open("rb") as file:
        _check_directory(file)
        try:
            with zipfile.ZipFile(file) as archive:
                entries = [entry for entry in archive.infolist() if not _is_litter(entry)]
                _check_number(len(entries), most_files)
                left = total_bytes
                for entry in entries:
                    member = _read(archive, entry, file_bytes)
                    left -= len(member.data)
                    if left < 0:
                        raise InputError(
                            f"The archive unpacks to more than {total_bytes / 2**20:.3g} MB: send a part of it."
                        )
                    yield member
        except InputError:
            raise
        except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, OSError, ValueError, struct.error):
            raise InputError(DAMAGED) from None


def clean_name(name: str) -> str:
    """Return a relative path that stays inside its folder and has only printable characters."""
    printable = "".join(character for character in name.replace("\\", "/") if character.isprintable())
    parts = [part.strip() for part in PurePosixPath(printable).parts]
    parts = [part.replace(":", "_") for part in parts if part.strip(".") and part != "/"]
    return "/".join(parts)[-NAME_LENGTH:].lstrip("/") or "picture"


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, file_bytes: int) -> Member:
    name = clean_name(entry.filename)
    if entry.flag_bits & 0x1:
        return Member(name, b"", "The archive protects this file by a password: pack it without one.")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return Member(name, b"", "This file is packed in an unusual way: pack it as an ordinary ZIP file.")
    try:
        with archive.open(entry) as file:
            data = file.read(file_bytes + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError):
        return Member(name, b"", "This file is damaged in the archive: pack it again.")
    if len(data) > file_bytes:
        return Member(name, b"", f"The file is larger than {file_bytes / 2**20:.3g} MB: send a smaller copy.")
    if data[:4] in MAGIC:
        return Member(name, b"", "An archive inside the archive is not opened: unpack it first.")
    return Member(name, data)


def _check_directory(file: IO[bytes]) -> None:
    """Refuse an archive whose directory is too large, before zipfile reads it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - END.size - MOST_COMMENT))
    tail = file.read()
    place = tail.rfind(b"PK\x05\x06")
    if place < 0 or place + END.size > len(tail):
        raise InputError(DAMAGED)
    directory = END.unpack_from(tail, place)[5]
    if directory > DIRECTORY_BYTES or b"PK\x06\x07" in tail[max(0, place - 20) : place]:  # the latter: ZIP64
        raise InputError("The archive has too many files: send it in parts.")
    file.seek(0)


def _check_number(files: int, most: int) -> None:
    if not files:
        raise InputError("The archive holds no file: choose another.")
    if files > most:
        raise InputError(f"The archive holds {files:,} files, and there is room for {most:,}: send a part of it.")


def _is_litter(entry: zipfile.ZipInfo) -> bool:
    """Return whether an entry is a folder, or a file that a system puts beside a user's files."""
    parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
    name = parts[-1].lower() if parts else ""
    return entry.is_dir() or "__MACOSX" in parts or name.startswith("._") or name in LITTER
