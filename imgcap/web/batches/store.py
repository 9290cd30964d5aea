"""Hold the batches of all users, on the disk too, until they are too old or deleted.

A user has one batch. It is stored in a folder below the data folder, counts towards the space of the user's uploads,
and is deleted with the account.
"""

import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TypeVar

from imgcap.errors import InputError
from imgcap.images.archives import Member
from imgcap.web.batches.batch import Batch, Item, Json, load
from imgcap.web.intake.uploads import Uploads

NO_BATCH = "You have no batch; it may have been deleted."
OTHER_BATCH = "That batch has been deleted; what you have now is a newer one."

T = TypeVar("T")


@dataclass(frozen=True)
class BatchLimits:
    """The maximum number of images, size and age of a batch."""

    max_files: int
    max_bytes: int  # of all files of one user
    file_bytes: int  # of one image
    max_age: float  # seconds since its last change


class BatchStore:
    """The batches of all users. Safe to share between threads.

    `changed` is the lock of all batches, and notifies those who wait for an image or a change.

    Args:
        folder: folder of the batches; batches of an earlier process continue.
        limits: limits on number, size and age.
        uploads: counts the space that is left.
        exists: says whether an account with an id exists.
    """

    def __init__(self, folder: Path, limits: BatchLimits, uploads: Uploads, exists: Callable[[int], bool]) -> None:
        self.limits = limits
        self.folder = folder
        self.changed = threading.Condition()
        self._uploads, self._exists = uploads, exists
        self._batches: dict[int, Batch] = {}
        self._incoming = count(1)
        self._saving = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._load()

    # Methods that take the lock

    def apply(self, user_id: int, act: Callable[[Batch], T], batch_id: str = "") -> T:
        """Return what `act` returns for the user's batch, while it holds the lock.

        Args:
            user_id: the user.
            act: what is done.
            batch_id: the batch that is meant; "" for whichever the user has.

        Raises:
            InputError: the user has no batch or another one, or `act` raises it.
        """
        with self.changed:
            batch = self._batches.get(user_id)
            if batch is None:
                raise InputError(NO_BATCH)
            if batch_id not in ("", batch.id):
                raise InputError(OTHER_BATCH)
            version = batch.version
            result = act(batch)
            if batch.version != version:
                self.changed.notify_all()
            return result

    def report(self, user_id: int, batch_id: str = "", since: int = -1) -> Json:
        """Return the user's batch for the page: all of it, or its changes since a version of batch `batch_id`."""
        limits = {"max_files": self.limits.max_files, "max_bytes": self.limits.max_bytes}
        with self.changed:
            batch = self._batches.get(user_id)
            if batch is None:
                return {"id": "", "version": 0, "state": "empty", "total": 0, "items": [], **limits}
            return batch.report(since if batch.id == batch_id else -1) | limits

    def get_or_begin(self, user_id: int) -> Batch:
        """Return the user's batch, a new one if the user has none."""
        with self.changed:
            batch = self._batches.get(user_id)
            if batch is None:
                batch = Batch(user_id, self.folder)
                batch.folder = self.folder / f"{user_id}-{batch.id}"
                batch.folder.mkdir(mode=0o700)
                self._batches[user_id] = batch
            return batch

    def new_path(self, batch: Batch) -> Path:
        """Return the path at which a file of the batch may be received."""
        return batch.folder / f"incoming-{next(self._incoming)}"

    def add(self, batch: Batch, member: Member) -> None:
        """Add a file to a batch as an item that waits; a file with an error becomes a failed item.

        Raises:
            InputError: the batch has no room for it, or was deleted meanwhile.
        """
        incoming = self.new_path(batch)
        try:
            if not member.error:
                incoming.write_bytes(member.data)
            self._append(batch, member, incoming)
        except FileNotFoundError:  # its folder was deleted
            raise InputError(NO_BATCH) from None
        finally:
            incoming.unlink(missing_ok=True)

    def _append(self, batch: Batch, member: Member, incoming: Path) -> None:
        with self.changed:
            if not self.holds(batch):
                raise InputError(NO_BATCH)
            if len(batch.items) >= self.limits.max_files:
                raise InputError(
                    f"A batch holds {self.limits.max_files:,} pictures: download this one and begin another."
                )
            if batch.bytes + len(member.data) > self.limits.max_bytes:
                room = f"{self.limits.max_bytes / 2**20:.3g} MB"
                raise InputError(f"A batch holds {room} of pictures: download this one and begin another.")
            item = Item(len(batch.items), member.name, len(member.data))
            if member.error:
                item.fail(member.error)
            else:
                incoming.rename(batch.path(item))
            batch.items.append(item)
            batch.touch(item)
            self.count_space(batch)
            self.changed.notify()

    def delete(self, user_id: int, batch_id: str = "") -> None:
        """Delete the user's batch with its images, if there is one. Raises InputError as `apply` for another one."""
        with self.changed:
            batch = self._batches.get(user_id)
            if batch is not None and batch_id not in ("", batch.id):
                raise InputError(OTHER_BATCH)
            self._batches.pop(user_id, None)
            self._uploads.hold(user_id, 0)
        if batch is not None:
            shutil.rmtree(batch.folder, ignore_errors=True)

    def sweep(self) -> None:
        """Delete batches that are too old or whose account no longer exists."""
        now = time.time()
        with self.changed:
            ages = {user_id: now - batch.touched_at for user_id, batch in self._batches.items()}
        for user_id, age in ages.items():
            if age > self.limits.max_age or not self._exists(user_id):
                self.delete(user_id)
        with self.changed:
            unknown = set(self.folder.iterdir()) - {batch.folder for batch in self._batches.values()}
        for folder in unknown:
            shutil.rmtree(folder, ignore_errors=True)

    def save(self) -> None:
        """Write the state of the batches that changed since they were saved."""
        with self._saving:
            with self.changed:
                changed = [batch for batch in self._batches.values() if batch.saved_version != batch.version]
                states = [batch.state() for batch in changed]
            for batch, state in zip(changed, states, strict=True):
                with suppress(FileNotFoundError):  # its folder was deleted
                    batch.save(state)

    # Methods for callers that hold the lock

    def all(self) -> list[Batch]:
        """Return the batches of all users."""
        return list(self._batches.values())

    def holds(self, batch: Batch) -> bool:
        """Return whether a batch was not deleted."""
        return self._batches.get(batch.user_id) is batch

    def count_space(self, batch: Batch) -> None:
        """Count a batch's present size as space of its user's uploads."""
        self._uploads.hold(batch.user_id, batch.bytes)

    def _load(self) -> None:
        for folder in self.folder.iterdir():
            try:
                batch = load(folder)
            except (OSError, ValueError, TypeError, KeyError):
                shutil.rmtree(folder, ignore_errors=True)  # the process ended before the new batch was saved
                continue
            self._batches[batch.user_id] = batch
            self.count_space(batch)
