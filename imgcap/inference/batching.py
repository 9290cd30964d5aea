"""One queue in front of the writer: what waits together is written together, and several batches side by side.

A batch begins as soon as a worker is free, with whatever waits then; nothing waits for more to come. So where fewer than
`MAX_BATCH` users wait, a user's next caption waits for the batches that run alone.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from imgcap.errors import InputError

MAX_BATCH = 16
CAPACITY = 256
"""Pieces of work that may wait, of all users together."""

ALONE = 2
"""Pieces in a batch of a user who alone has work waiting."""

Work = TypeVar("Work")


class BusyError(InputError):
    """Too much waits already; `retry_after` is how many seconds to wait before another try."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"The captioner is busy: try again in {retry_after} seconds.")
        self.retry_after = retry_after


class BatchQueue(Generic[Work]):
    """Hands work to one function in batches, from threads of its own. Any thread may call.

    Users take turns: of each that has work waiting, in the order in which they came, a batch has one piece. A user who
    alone has work waiting gets `ALONE` into a batch; work of nobody (None), such as the command line's, fills it.

    Args:
        run: does a batch; it calls nothing of this queue. An exception from it fails every piece of the batch.
        capacity: pieces that may wait; one more is refused at once.
        max_batch: pieces in a batch.

    Attributes:
        workers: batches that may run side by side; it counts until the first piece comes.
        running: batches that run now.
    """

    RETRY_AFTER = 5

    def __init__(
        self, run: Callable[[Sequence[Work]], None], capacity: int = CAPACITY, max_batch: int = MAX_BATCH
    ) -> None:
        self._run, self._capacity, self._max_batch = run, capacity, max_batch
        self._changed = threading.Condition()
        self._waiting: OrderedDict[Hashable, deque[tuple[Work, Future[None]]]] = OrderedDict()
        self._threads: list[threading.Thread] = []
        self.workers, self.running = 1, 0
        self._closed = False

    def submit(self, work: Work, user: Hashable = None) -> "Future[None]":
        """Queue a piece of work of a user.

        Returns:
            A future that is done when the work is. While the work waits, `cancel()` takes it out.

        Raises:
            BusyError: as much waits as may.
            RuntimeError: the queue is closed.
        """
        future: Future[None] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("The queue is closed.")
            if self._count() >= self._capacity:
                raise BusyError(self.RETRY_AFTER)
            self._waiting.setdefault(user, deque()).append((work, future))
            for number in range(0 if self._threads else self.workers):
                self._threads.append(threading.Thread(target=self._serve, name=f"captions {number}", daemon=True))
                self._threads[-1].start()
            self._changed.notify()
        return future

    def close(self) -> None:
        """Finish the batches that run, cancel what waits, and end the threads."""
        with self._changed:
            self._closed = True
            for work in self._waiting.values():
                for _, future in work:
                    future.cancel()
            self._waiting.clear()
            self._changed.notify_all()
            threads = self._threads
        for thread in threads:
            thread.join()

    def _count(self) -> int:
        """Return how much waits. What was cancelled is dropped first: it takes no place."""
        for user in list(self._waiting):
            kept = deque(item for item in self._waiting[user] if not item[1].cancelled())
            if kept:
                self._waiting[user] = kept
            else:
                del self._waiting[user]
        return sum(map(len, self._waiting.values()))

    def _take(self) -> list[tuple[Work, "Future[None]"]]:
        """Take the next batch: one piece of each user in turn, or of a user who alone waits a few.

        A user that was served goes behind the others. More of one user would make whoever comes next wait for it.
        """
        batch: list[tuple[Work, Future[None]]] = []
        users = list(self._waiting)
        pieces = users if len(users) != 1 else users * (self._max_batch if users[0] is None else ALONE)
        for user in pieces:
            if user not in self._waiting or len(batch) >= self._max_batch:
                break
            own = self._waiting.pop(user)
            work, future = own.popleft()
            if own:
                self._waiting[user] = own
            if future.set_running_or_notify_cancel():
                batch.append((work, future))
        return batch

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return
                batch = self._take()
                self.running += bool(batch)
            if not batch:
                continue
            try:
                self._run([work for work, _ in batch])
            except BaseException as error:  # noqa: BLE001  whoever waits gets it, and the thread goes on
                for _, future in batch:
                    future.set_exception(error)
            else:
                for _, future in batch:
                    future.set_result(None)
            with self._changed:
                self.running -= 1
            del batch
