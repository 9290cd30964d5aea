"""Caption the images of all users' batches in the background, and save and sweep the batches meanwhile."""

import logging
import threading
import time
from contextlib import suppress

from imgcap.accounts.history import make_thumbnail
from imgcap.accounts.throttling import Throttled
from imgcap.inference.batching import BusyError
from imgcap.inference.threads import give_way
from imgcap.web.batches.batch import Batch, Item
from imgcap.web.batches.store import BatchStore
from imgcap.web.intake.opening import Caller
from imgcap.web.intake.uploads import SWEEP_SECONDS
from imgcap.web.work import Work, explain

WORKERS = 4
"""Number of images in all users' batches in progress at once: few, so that a person's own photo waits for few."""
SAVE_SECONDS = 2.0

logger = logging.getLogger(__name__)


class BatchWorkers:
    """The threads that work on batches, also when no page is open.

    Args:
        store: of the batches.
        work: describes images.
    """

    def __init__(self, store: BatchStore, work: Work) -> None:
        self._store, self._work = store, work
        self._served: dict[int, int] = {}
        self._turn = 0
        self._closed = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads, which work until `close`."""
        targets = [*[self._work_on] * WORKERS, self._keep]
        self._threads = [threading.Thread(target=target, name="imgcap-batches", daemon=True) for target in targets]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop the threads after their present image, and save the state of all batches."""
        with self._store.changed:
            self._closed = True
            self._store.changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=5)
        self._store.save()

    def _work_on(self) -> None:
        give_way()
        while (found := self._take()) is not None:
            self._describe(*found)

    def _take(self) -> tuple[Batch, Item] | None:
        """Wait for the next image, of the user who was served longest ago; return None after `close`."""
        with self._store.changed:
            while not self._closed:
                now = time.monotonic()
                waiting = {
                    batch.user_id: (batch, item)
                    for batch in self._store.all()
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
                self._store.changed.wait(1.0)
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
        with self._store.changed:
            if not self._store.holds(batch):
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
            self._store.count_space(batch)

    def _keep(self) -> None:
        """Save what changed every few seconds, and sweep now and then."""
        swept_at = time.monotonic()
        while not self._closed:
            try:
                self._store.save()
                if time.monotonic() - swept_at > SWEEP_SECONDS:
                    swept_at = time.monotonic()
                    self._store.sweep()
            except Exception:
                logger.exception("batches could not be saved or swept; the next time is in a few seconds")
            with self._store.changed:
                self._store.changed.wait_for(lambda: self._closed, SAVE_SECONDS)
