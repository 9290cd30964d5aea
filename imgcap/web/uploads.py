"""Uploaded pictures: whose they are, how much room they take, and when they are deleted.

Gradio names an upload by the hash of its content, lets everybody who is signed in read it, and passes any path on to
functions, even one that did not come from an upload. So a path means nothing here until this register knows its owner.

Owners are ids of accounts. Files that never get an owner (of a dropped connection, under a wrong field name, refused
for their size) are deleted two minutes after they were last written, the others when they are old enough.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from imgcap.accounts.throttling import Throttled
from imgcap.errors import InputError

Source = Literal["picture", "link"]
SWEEP_SECONDS = 30.0
INCOMPLETE_SECONDS = 120.0
"""How long a file without an owner may lie untouched: it is still being received, or never will be whole."""

logger = logging.getLogger(__name__)


class StorageFull(InputError):  # noqa: N818  the state of the storage, as HTTP's 507 words it
    """There is no room for an upload; later there will be."""


@dataclass(frozen=True)
class UploadLimits:
    """How long uploads are kept and how much room they may take."""

    max_age: float  # seconds
    bytes_per_user: int  # of one user's files; the oldest make room for the newest
    bytes_in_all: int
    min_free_bytes: int  # on the disk, which the database may share


def lock_data_folder(folder: Path) -> IO[bytes]:
    """Lock the data folder for this process until the returned file is closed.

    Raises:
        InputError: another process has it, or it cannot be written to.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / "lock").open("ab")
    except OSError as error:
        raise InputError("The data folder cannot be written to; set IMGCAP_DATA_DIR to one that can.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise InputError(
            f"Another imgcap runs with the data folder {str(folder)!r}: stop it, or set IMGCAP_DATA_DIR to another."
        ) from None
    return lock


def prepare_folder(folder: Path) -> Path:
    """Return an empty folder that only this process's user may read; files of an earlier process have no owner."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    return folder.resolve()


@dataclass
class _Upload:
    size: int
    added_at: float
    source: Source
    owners: set[int] = field(default_factory=set)


@dataclass
class Reservation:
    """Room for an upload that is being received; `kept` once its files have an owner."""

    user_id: int
    size: int
    kept: bool = False
    expires_at: float | None = None  # None while the upload runs


class Uploads:
    """The register of uploaded files. Safe to share between threads.

    Args:
        folder: where Gradio puts uploads (`GRADIO_TEMP_DIR`); files elsewhere are never registered.
        limits: on age and room.
    """

    def __init__(self, folder: Path, limits: UploadLimits) -> None:
        self.folder = folder
        self.limits = limits
        self._uploads: dict[Path, _Upload] = {}
        self._reservations: list[Reservation] = []
        self._held: dict[int, int] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()

    @contextmanager
    def receiving(self, user_id: int, size: int) -> Iterator[Reservation]:
        """Reserve room for an upload while it is received. Files that are not `kept` count until they are swept.

        Args:
            user_id: who sends it.
            size: its bytes at most.

        Raises:
            Throttled: too much that this user has sent is still being received or unusable.
            StorageFull: all uploads together, or the disk, have no room for it.
        """
        reservation = Reservation(user_id, size)
        with self._lock:
            self._check_room(user_id, size)
            self._reservations.append(reservation)
        try:
            yield reservation
        finally:
            with self._lock:
                if reservation.kept:
                    self._reservations.remove(reservation)
                else:
                    reservation.expires_at = time.monotonic() + INCOMPLETE_SECONDS + SWEEP_SECONDS

    def add(self, path: str | Path, user_id: int, source: Source = "picture") -> None:
        """Record that a user gave the file; the same file may belong to several users.

        Beyond `limits.bytes_per_user` the user's oldest files are deleted.
        """
        real = Path(path).resolve()
        if not real.is_relative_to(self.folder):
            raise ValueError("an upload lies in the upload folder")
        size = real.stat().st_size
        with self._lock:
            known = self._uploads.pop(real, None)  # put at the end: the order is that of age
            upload = self._uploads[real] = known or _Upload(size, 0, source)
            upload.size, upload.added_at, upload.source = size, time.time(), source
            upload.owners.add(user_id)
            own = [path for path, upload in self._uploads.items() if user_id in upload.owners]
            excess = sum(self._uploads[path].size for path in own) - self.limits.bytes_per_user
            for path in own[:-1]:
                if excess <= 0:
                    break
                excess -= self._uploads[path].size
                self._disown(path, user_id)

    def save_link(self, data: bytes, user_id: int) -> Path:
        """Keep the content of a link as an upload of the user, named by its hash; return its path.

        Raises:
            Throttled, StorageFull: as `receiving`.
        """
        path = self.folder / hashlib.sha256(data).hexdigest() / "link"
        with self.receiving(user_id, len(data)) as reservation:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.write_bytes(data)
            self.add(path, user_id, "link")
            reservation.kept = True
        return path

    def hold(self, user_id: int, size: int) -> None:
        """Count `size` bytes of a user's that are kept elsewhere, in a batch, towards the room of all uploads."""
        with self._lock:
            self._held[user_id] = size
            if not size:
                del self._held[user_id]

    def is_owned(self, path: str, user_id: int) -> bool:
        """Return whether the path, links resolved, is an upload of the user."""
        return self._find(path, user_id) is not None

    def read(self, path: str, user_id: int) -> bytes:
        """Return the content of one of the user's uploads.

        Raises:
            InputError: the file is not an upload of the user, or was deleted.
        """
        real = self._find(path, user_id)
        try:
            if real is not None:
                return real.read_bytes()
        except FileNotFoundError:
            pass
        raise InputError("That picture is not among your uploads, or was deleted; upload it again.")

    def source_of(self, path: str) -> Source:
        """Return whether the upload at `path` was sent as a picture or came from a link."""
        with self._lock:
            upload = self._uploads.get(Path(path).resolve())
            return upload.source if upload else "picture"

    def forget_user(self, user_id: int) -> None:
        """Delete every upload that belongs to this user alone, and the user's share in the others."""
        with self._lock:
            for path in [path for path, upload in self._uploads.items() if user_id in upload.owners]:
                self._disown(path, user_id)

    def sweep(self) -> None:
        """Delete files that are too old or never got an owner. A file that cannot be deleted stops nothing."""
        now = time.time()
        for folder, _, names in os.walk(self.folder, topdown=False):
            for name in names:
                path = Path(folder, name)
                with self._lock, suppress(FileNotFoundError):
                    upload = self._uploads.get(path)
                    since, age = (
                        (upload.added_at, self.limits.max_age) if upload else (path.stat().st_mtime, INCOMPLETE_SECONDS)
                    )
                    if since + age < now:
                        self._delete(path)
            if Path(folder) != self.folder:
                with suppress(OSError):  # it is not empty, or is gone
                    Path(folder).rmdir()
        with self._lock:
            for path in [path for path in self._uploads if not path.exists()]:  # somebody else deleted them
                del self._uploads[path]
            ended = time.monotonic()
            self._reservations = [r for r in self._reservations if r.expires_at is None or r.expires_at > ended]

    def start(self) -> None:
        """Sweep regularly, in a thread, until `close`."""
        threading.Thread(target=self._sweep_regularly, name="imgcap-sweep", daemon=True).start()

    def close(self) -> None:
        """End the sweeping."""
        self._stop.set()

    def _sweep_regularly(self) -> None:
        while not self._stop.wait(SWEEP_SECONDS):
            try:
                self.sweep()
            except Exception:
                logger.exception("uploads could not be swept; the next sweep tries again")

    def _check_room(self, user_id: int, size: int) -> None:
        reserved = sum(r.size for r in self._reservations)
        own = sum(r.size for r in self._reservations if r.user_id == user_id)
        if own + size > self.limits.bytes_per_user:
            raise Throttled(
                "Too many of your uploads are under way or were broken off; try again in a few minutes.",
                int(INCOMPLETE_SECONDS),
            )
        kept = sum(upload.size for upload in self._uploads.values()) + sum(self._held.values())
        free = shutil.disk_usage(self.folder).free - reserved
        if kept + reserved + size > self.limits.bytes_in_all or free - size < self.limits.min_free_bytes:
            raise StorageFull("The server has no room for more pictures just now; try again in a few minutes.")

    def _disown(self, path: Path, user_id: int) -> None:
        upload = self._uploads[path]
        upload.owners.discard(user_id)
        if not upload.owners:
            self._delete(path)

    def _delete(self, path: Path) -> None:
        """Delete a file; a failure is logged, and the next sweep tries again."""
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("an upload could not be deleted: %s", error.strerror)
        else:
            self._uploads.pop(path, None)
            if path.parent != self.folder:
                with suppress(OSError):  # it holds other files
                    path.parent.rmdir()

    def _find(self, path: str, user_id: int) -> Path | None:
        try:
            real = Path(path).resolve()
        except (OSError, ValueError):  # a loop of links, or a NUL
            return None
        with self._lock:
            upload = self._uploads.get(real)
            return real if upload is not None and user_id in upload.owners else None
