"""Register the owners of uploaded images, limit the space that uploads take, and delete old ones.

Gradio names an upload by the hash of its content, lets every signed-in user read it, and passes any path to functions,
even one that did not come from an upload. Therefore a path is not accepted until this register knows its owner.

Owners are ids of accounts. Files that never get an owner (from a dropped connection, under a wrong field name, refused
for their size) are deleted two minutes after they were last written, and all others when they reach their maximum age.
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

from imgcap.accounts.storage import DATA_FOLDER_UNWRITABLE
from imgcap.accounts.throttling import Throttled
from imgcap.errors import InputError

Source = Literal["picture", "link"]
SWEEP_SECONDS = 30.0
INCOMPLETE_SECONDS = 120.0
"""Seconds that a file without an owner may stay unchanged; later it is no longer being received."""

logger = logging.getLogger(__name__)


class StorageFull(InputError):  # noqa: N818  named after HTTP's 507
    """The server has no room for an upload at the moment."""


@dataclass(frozen=True)
class UploadLimits:
    """The maximum age of uploads and the space that they may take."""

    max_age: float  # seconds
    bytes_per_user: int  # of one user's files; the oldest are deleted to make room for the newest
    bytes_in_all: int
    min_free_bytes: int  # on the disk, which the database may share


def lock_data_folder(folder: Path) -> IO[bytes]:
    """Lock the data folder for this process until the returned file is closed.

    Raises:
        InputError: another process has locked it, or it cannot be written to.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / "lock").open("ab")
    except OSError as error:
        raise InputError(DATA_FOLDER_UNWRITABLE) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise InputError(
            f"Another imgcap runs with the data folder {str(folder)!r}: stop it, or set IMGCAP_DATA_DIR to another."
        ) from None
    return lock


def prepare_folder(folder: Path) -> Path:
    """Return an emptied folder that only this process's user may read, as an earlier process's files have no owner."""
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
    """Space for an upload that is being received; `kept` is true once its files have an owner."""

    user_id: int
    size: int
    kept: bool = False
    expires_at: float | None = None  # None while the upload runs


class Uploads:
    """The register of uploaded files. Safe to share between threads.

    Args:
        folder: Gradio's folder of uploads (`GRADIO_TEMP_DIR`); files elsewhere are never registered.
        limits: limits on age and space.
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
        """Reserve space for an upload while it is received. Files that are not `kept` count until they are swept.

        Args:
            user_id: id of the sender's account.
            size: maximum size in bytes.

        Raises:
            Throttled: too many of this user's uploads are still being received or are unusable.
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
        """Record a user as an owner of the file; the same file may belong to several users.

        Beyond `limits.bytes_per_user` the user's oldest files are deleted.
        """
        real = Path(path).resolve()
        if not real.is_relative_to(self.folder):
            raise ValueError("an upload lies in the upload folder")
        size = real.stat().st_size
        with self._lock:
            known = self._uploads.pop(real, None)  # re-added at the end, since the dictionary is ordered by age
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
        """Store the content of a link as an upload of the user, named by its hash, and return its path.

        Raises:
            Throttled, StorageFull: as for `receiving`.
        """
        path = self.folder / hashlib.sha256(data).hexdigest() / "link"
        with self.receiving(user_id, len(data)) as reservation:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.write_bytes(data)
            self.add(path, user_id, "link")
            reservation.kept = True
        return path

    def hold(self, user_id: int, size: int) -> None:
        """Count `size` bytes of a user's batch, which is stored elsewhere, towards the space of all uploads."""
        with self._lock:
            self._held[user_id] = size
            if not size:
                del self._held[user_id]

    def is_owned(self, path: str, user_id: int) -> bool:
        """Return whether the path, with links resolved, is an upload of the user."""
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
        """Return whether the upload at `path` was sent as an image or came from a link."""
        with self._lock:
            upload = self._uploads.get(Path(path).resolve())
            return upload.source if upload else "picture"

    def forget_user(self, user_id: int) -> None:
        """Delete every upload that only this user owns, and remove the user from the owners of the others."""
        with self._lock:
            for path in [path for path, upload in self._uploads.items() if user_id in upload.owners]:
                self._disown(path, user_id)

    def sweep(self) -> None:
        """Delete files that are too old or never got an owner. A file that cannot be deleted is skipped."""
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
                with suppress(OSError):  # it is not empty, or no longer exists
                    Path(folder).rmdir()
        with self._lock:
            for path in [path for path in self._uploads if not path.exists()]:  # deleted by another program
                del self._uploads[path]
            ended = time.monotonic()
            self._reservations = [r for r in self._reservations if r.expires_at is None or r.expires_at > ended]

    def start(self) -> None:
        """Start a thread that sweeps regularly until `close`."""
        threading.Thread(target=self._sweep_regularly, name="imgcap-sweep", daemon=True).start()

    def close(self) -> None:
        """Stop the thread that sweeps."""
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
