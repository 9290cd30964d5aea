"""Caption the images of each user's batch in the background, and store them until they are too old or deleted.

A user has one batch. Its work continues when the page is closed, and after a restart. The batch is stored in a folder
below the data folder, counts towards the space of the user's uploads, and is deleted with the account.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imgcap.accounts.history import MAX_CAPTION, make_thumbnail
from imgcap.accounts.throttling import Throttled
from imgcap.errors import InputError
from imgcap.images.alt_text import AltTextWriter, one_line
from imgcap.images.archives import Member, clean_name, is_archive, read_archive
from imgcap.inference.batching import BusyError
from imgcap.inference.threads import give_way
from imgcap.reading import check_length
from imgcap.web.batches.batch import Batch, Item, Json, load
from imgcap.web.batches.downloads import Form, to_csv, to_jsonl, zip_of_copies
from imgcap.web.uploads import SWEEP_SECONDS, Uploads
from imgcap.web.work import Caller, Work, explain

WORKERS = 4
"""Number of images in all users' batches in progress at once: few, so that a person's own photo waits for few."""
SAVE_SECONDS = 2.0
NO_BATCH = "You have no batch; it may have been deleted."

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchLimits:
    """The maximum number of images, size and age of a batch."""

    max_files: int
    max_bytes: int  # of all files of one user
    file_bytes: int  # of one image
    max_age: float  # seconds since its last change


class Batches:
    """The batches of all users. Safe to share between threads.

    Args:
        folder: folder of the batches; batches of an earlier process continue.
        limits: limits on number, size and age.
        work: describes images.
        uploads: counts the space that is left.
        exists: says whether an account with an id exists.
    """

    def __init__(
        self, folder: Path, limits: BatchLimits, work: Work, uploads: Uploads, exists: Callable[[int], bool]
    ) -> None:
        self.limits = limits
        self.folder = folder
        self._work, self._uploads, self._exists = work, uploads, exists
        self._alt_texts = AltTextWriter()
        self._batches: dict[int, Batch] = {}
        self._served: dict[int, int] = {}
        self._turn = 0
        self._changed = threading.Condition()
        self._saving = threading.Lock()
        self._closed = False
        self._threads: list[threading.Thread] = []
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._load()

    # Methods for a user's requests

    def new_path(self, user_id: int) -> Path:
        """Return the path at which a file of the user may be received."""
        with self._changed:
            return self._new_path(self._get_or_begin(user_id))

    def add(self, path: Path, name: str, caller: Caller, length: str = "normal") -> None:
        """Add a received file, an image or a ZIP archive of images, to the user's batch, and start its work.

        Raises:
            InputError: the batch has no room for it, or the archive cannot be read. The images read before the error
                stay in the batch.
        """
        with self._changed:
            batch = self._get_or_begin(caller.user_id)
            batch.length, batch.address = check_length(length), caller.address
        for member in self._members(path, name, batch):
            self._store(batch, member)

    def report(self, user_id: int, batch_id: str = "", since: int = -1) -> Json:
        """Return the user's batch for the page: all of it, or its changes since a version of batch `batch_id`."""
        limits = {"max_files": self.limits.max_files, "max_bytes": self.limits.max_bytes}
        with self._changed:
            batch = self._batches.get(user_id)
            if batch is None:
                return {"id": "", "version": 0, "state": "empty", "total": 0, "items": [], **limits}
            return batch.report(since if batch.id == batch_id else -1) | limits

    def cancel(self, user_id: int) -> None:
        """Start no further image of the user's batch. Raises InputError if the user has no batch."""
        with self._changed:
            batch = self._find(user_id)
            batch.cancelled = True
            batch.touch()

    def resume(self, user_id: int) -> None:
        """Continue with waiting images, and retry failed ones. Raises InputError if the user has no batch."""
        with self._changed:
            batch = self._find(user_id)
            batch.cancelled = False
            again = [item for item in batch.items if item.state == "failed" and batch.path(item).is_file()]
            for item in again:
                item.state, item.error = "waiting", None
            batch.touch(*again)
            self._changed.notify_all()

    def delete(self, user_id: int) -> None:
        """Delete the user's batch with its images, if the user has one."""
        with self._changed:
            batch = self._batches.pop(user_id, None)
            self._uploads.hold(user_id, 0)
        if batch is not None:
            shutil.rmtree(batch.folder, ignore_errors=True)

    def edit(self, user_id: int, number: int, caption: str) -> None:
        """Replace the model's caption by the user's own; an empty one restores the model's.

        Raises:
            InputError: the image does not exist or is not done, or the caption is too long.
        """
        text = one_line(caption)
        if len(text) > MAX_CAPTION:
            raise InputError(f"A caption has at most {MAX_CAPTION:,} characters; write a shorter one.")
        with self._changed:
            batch = self._find(user_id)
            item = batch.find(number)
            if item is None or item.state != "done":
                raise InputError("Only a picture that is done has a caption to change.")
            item.edited = text if text and text != item.caption else None
            batch.touch(item)

    def thumbnail(self, user_id: int, number: int) -> bytes:
        """Return the JPEG thumbnail of an image. Raises InputError if it does not exist."""
        with self._changed:
            batch = self._find(user_id)
            item = batch.find(number)
            path = batch.thumbnail_path(item) if item is not None else None
        try:
            if path is not None:
                return path.read_bytes()
        except FileNotFoundError:
            pass
        raise InputError("There is no such picture in your batch.")

    def table(self, user_id: int, kind: Literal["csv", "jsonl"]) -> str:
        """Return the results so far as CSV, or as lines of JSON. Raises InputError if the user has no batch."""
        with self._changed:
            items = self._find(user_id).items
            return to_csv(items) if kind == "csv" else to_jsonl(items)

    def copies(self, user_id: int, form: Form, *, overwrite: bool) -> Iterator[bytes]:
        """Return a ZIP archive of the described images in parts; see `zip_of_copies`.

        Raises:
            InputError: the user has no batch, or no image in it has a caption.
        """
        with self._changed:
            batch = self._find(user_id)
            pictures = [(item, batch.path(item)) for item in batch.items]
            if not any(item.text for item in batch.items):
                raise InputError("No picture of your batch has a caption yet.")
        return zip_of_copies(pictures, form, self._alt_texts, overwrite=overwrite)

    # Methods for the server

    def start(self) -> None:
        """Start the threads, which work until `close`."""
        targets = [*[self._work_on] * WORKERS, self._keep]
        self._threads = [threading.Thread(target=target, name="imgcap-batches", daemon=True) for target in targets]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop the threads after their present image, and save the state of all batches."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=5)
        self._save()

    def sweep(self) -> None:
        """Delete batches that are too old or whose account no longer exists."""
        now = time.time()
        with self._changed:
            ages = {user_id: now - batch.touched_at for user_id, batch in self._batches.items()}
        for user_id, age in ages.items():
            if age > self.limits.max_age or not self._exists(user_id):
                self.delete(user_id)
        with self._changed:
            unknown = set(self.folder.iterdir()) - {batch.folder for batch in self._batches.values()}
        for folder in unknown:
            shutil.rmtree(folder, ignore_errors=True)

    # Receiving images

    def _get_or_begin(self, user_id: int) -> Batch:
        batch = self._batches.get(user_id)
        if batch is None:
            batch = Batch(user_id, self.folder)
            batch.folder = self.folder / f"{user_id}-{batch.id}"
            batch.folder.mkdir(mode=0o700)
            self._batches[user_id] = batch
        return batch

    def _new_path(self, batch: Batch) -> Path:
        self._turn += 1
        return batch.folder / f"incoming-{self._turn}"

    def _find(self, user_id: int) -> Batch:
        batch = self._batches.get(user_id)
        if batch is None:
            raise InputError(NO_BATCH)
        return batch

    def _members(self, path: Path, name: str, batch: Batch) -> Iterator[Member]:
        if not is_archive(path):
            size = path.stat().st_size
            large = f"The file is larger than {self.limits.file_bytes / 2**20:.3g} MB: send a smaller copy."
            too_large = size > self.limits.file_bytes
            yield Member(clean_name(name), b"" if too_large else path.read_bytes(), large if too_large else "")
            return
        with self._changed:
            files = self.limits.max_files - len(batch.items)
            room = self.limits.max_bytes - batch.bytes
        yield from read_archive(path, most_files=files, file_bytes=self.limits.file_bytes, total_bytes=room)

    def _store(self, batch: Batch, member: Member) -> None:
        """Add a file to the batch. Raises InputError if it has no room, or the batch was deleted meanwhile."""
        with self._changed:
            incoming = self._new_path(batch)
        try:
            if not member.error:
                incoming.write_bytes(member.data)
            self._append(batch, member, incoming)
        except FileNotFoundError:  # its folder was deleted
            raise InputError(NO_BATCH) from None
        finally:
            incoming.unlink(missing_ok=True)

    def _append(self, batch: Batch, member: Member, incoming: Path) -> None:
        with self._changed:
            if self._batches.get(batch.user_id) is not batch:
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
            self._uploads.hold(batch.user_id, batch.bytes)
            self._changed.notify()

    # Captioning images

    def _work_on(self) -> None:
        give_way()
        while (found := self._take()) is not None:
            self._describe(*found)

    def _take(self) -> tuple[Batch, Item] | None:
        """Wait for the next image, of the user who was served longest ago; return None after `close`."""
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                waiting = {
                    user_id: (batch, item)
                    for user_id, batch in self._batches.items()
                    if batch.not_before <= now and (item := batch.next_waiting()) is not None
                }
                if waiting:
                    user_id = min(waiting, key=lambda user_id: self._served.get(user_id, 0))
                    self._turn += 1
                    self._served[user_id] = self._turn
                    batch, item = waiting[user_id]
                    item.state = "working"
                    batch.touch(item)
                    return batch, item
                self._changed.wait(1.0)
        return None

    def _describe(self, batch: Batch, item: Item) -> None:
        wait, thumbnail_bytes, reading, problem = 0, 0, None, ""
        try:
            data = batch.path(item).read_bytes()
            caller = Caller(batch.user_id, batch.address)
            reading, pixels = self._work.describe_file(data, item.name, batch.length, caller)
            thumbnail = make_thumbnail(pixels)
            with suppress(OSError):  # the caption matters more than its thumbnail
                thumbnail_bytes = batch.thumbnail_path(item).write_bytes(thumbnail)
        except (Throttled, BusyError) as error:
            wait = error.retry_after
        except Exception as error:  # noqa: BLE001  one bad image must not stop the others
            problem = explain(error)
        with self._changed:
            if self._batches.get(batch.user_id) is not batch:
                return
            if wait:
                item.state, batch.not_before = "waiting", time.monotonic() + wait
                batch.finished.clear()  # the pace before the wait says nothing about the pace after it
            elif reading is None:
                item.fail(problem)
            else:
                item.size += thumbnail_bytes
                item.keep(reading)
                batch.finished.append(time.monotonic())
            batch.touch(item)
            self._uploads.hold(batch.user_id, batch.bytes)

    # Storing the state

    def _keep(self) -> None:
        swept_at = time.monotonic()
        while not self._closed:
            try:
                self._save()
                if time.monotonic() - swept_at > SWEEP_SECONDS:
                    swept_at = time.monotonic()
                    self.sweep()
            except Exception:
                logger.exception("batches could not be saved or swept; the next time is in a few seconds")
            with self._changed:
                self._changed.wait_for(lambda: self._closed, SAVE_SECONDS)

    def _save(self) -> None:
        with self._saving:
            with self._changed:
                changed = [batch for batch in self._batches.values() if batch.saved_version != batch.version]
                states = [batch.state() for batch in changed]
            for batch, state in zip(changed, states, strict=True):
                with suppress(FileNotFoundError):  # its folder was deleted
                    batch.save(state)

    def _load(self) -> None:
        for folder in self.folder.iterdir():
            try:
                batch = load(folder)
            except (OSError, ValueError, TypeError, KeyError):
                shutil.rmtree(folder, ignore_errors=True)  # the process ended before the new batch was saved
                continue
            self._batches[batch.user_id] = batch
            self._uploads.hold(batch.user_id, batch.bytes)
