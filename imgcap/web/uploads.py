"""Whose the uploaded pictures are: each may be read by its own user alone, and no other file of the machine at all.

Gradio names an upload by the hash of its content and lets whoever is signed in read it and pass its path to any
function; a path that did not come from an upload is passed on as well. So a path means nothing here until this
register knows its owner.
"""

import hashlib
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from imgcap.errors import InputError

Source = Literal["picture", "link"]


def prepare_folder(folder: Path) -> Path:
    """An empty folder that only this process's user may read: what an earlier process left there has no owner."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    return folder.resolve()


@dataclass
class _Upload:
    owners: set[str] = field(default_factory=set)
    source: Source = "picture"


class Uploads:
    """The register of uploaded files. Safe to share between threads.

    Args:
        folder: where Gradio puts uploads (`GRADIO_TEMP_DIR`); nothing outside is ever known.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._uploads: dict[Path, _Upload] = {}
        self._lock = threading.Lock()

    def add(self, path: str | Path, user: str, source: Source = "picture") -> None:
        """Record that `user` gave the file; the same file may belong to several users."""
        real = Path(path).resolve()
        if not real.is_relative_to(self.folder):
            raise ValueError("an upload lies in the upload folder")
        with self._lock:
            self._forget_deleted()
            upload = self._uploads.setdefault(real, _Upload())
            upload.owners.add(user)
            upload.source = source

    def save_link(self, data: bytes, user: str) -> Path:
        """Keep what a link led to as an upload of `user`, named by its content; returns its path."""
        path = self.folder / hashlib.sha256(data).hexdigest() / "link"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_bytes(data)
        self.add(path, user, "link")
        return path

    def is_owned(self, path: str, user: str) -> bool:
        """Whether the path, links resolved, is an upload of the user's."""
        return self._find(path, user) is not None

    def read(self, path: str, user: str) -> bytes:
        """The content of one of the user's uploads.

        Raises:
            InputError: it is none, be it that it is another user's or no upload at all.
        """
        real = self._find(path, user)
        try:
            if real is not None:
                return real.read_bytes()
        except FileNotFoundError:
            pass
        raise InputError("That picture is not among your uploads, or was deleted; upload it again.")

    def source_of(self, path: str) -> Source:
        """How the upload at `path` came."""
        with self._lock:
            return self._uploads[Path(path).resolve()].source

    def _find(self, path: str, user: str) -> Path | None:
        try:
            real = Path(path).resolve()
        except (OSError, ValueError):  # a loop of links, or a NUL
            return None
        with self._lock:
            upload = self._uploads.get(real)
            return real if upload is not None and user in upload.owners else None

    def _forget_deleted(self) -> None:
        for path in [path for path in self._uploads if not path.exists()]:
            del self._uploads[path]
