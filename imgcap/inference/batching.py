"""Queue work in front of the writer, which writes it in batches, several of them side by side.

A batch begins as soon as a worker is free, with the work that waits then; it does not wait for more to come. If several
workers are free, they share the work. No user occupies all of several workers, so that another user's caption begins at
once.
"""

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from imgcap.errors import InputError
from imgcap.inference.threads import give_way

MAX_BATCH = 16
CAPACITY = 256
"""Pieces of work of all users that may wait."""

Work = TypeVar("Work")


class BusyError(InputError):
    """Too much work waits already; `retry_after` is how many seconds to wait before another try."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"The captioner is busy: try again in {retry_after} seconds.")
        self.retry_after = retry_after


class BatchQueue(Generic[Work]):
    """Hands work to one function in batches, from threads of its own. Any thread may call.

    Users whose work waits take turns, one piece at a time, in the order in which they came. If there are several
    workers, batches with one user's work leave one free; work without a user (None), as on the command line, may occupy
    all.

    Args:
        run: does a batch; it must not call this queue. An exception from it fails every piece of the batch.
        capacity: pieces that may wait; one more is refused at once.
        max_batch: pieces in a batch.

    Attributes:
        workers: batches that may run side by side; changes have no effect after the first piece of work.
        max_batch: pieces in a batch; it may be changed at any time.
        running: batches that run now.
    """

    RETRY_AFTER = 5

    def __init__(
        self, run: Callable[[Sequence[Work]], None], capacity: int = CAPACITY, max_batch: int = MAX_BATCH
    ) -> None:
        self._run, self._capacity, self.max_batch = run, capacity, max_batch
        self._changed = threading.Condition()
        self._waiting: OrderedDict[Hashable, deque[tuple[Work, Future[None]]]] = OrderedDict()
        self._threads: list[threading.Thread] = []
        self.workers, self.running = 1, 0
        self._batches: Counter[Hashable] = Counter()  # running batches, by the users who have work in them
        self._closed = False

    def submit(self, work: Work, user: Hashable = None) -> "Future[None]":
        """Queue a piece of work of a user.

        Returns:
            A future that is done when the work is. While the work waits, `cancel()` removes it.

        Raises:
            BusyError: the queue is full.
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
        """Drop cancelled work, and return how many pieces wait."""
        for user in list(self._waiting):
            kept = deque(item for item in self._waiting[user] if not item[1].cancelled())
            if kept:
                self._waiting[user] = kept
            else:
                del self._waiting[user]
        return sum(map(len, self._waiting.values()))

    def _may_begin(self, user: Hashable) -> bool:
        """Return whether one more batch may contain a user's work; one of several workers is left to other users."""
        return self._batches[user] < self._most_batches(user)

    def _most_batches(self, user: Hashable) -> int:
        """Return in how many batches a user's work may be at once."""
        return self.workers if user is None else max(1, self.workers - 1)

    def _take(self) -> list[tuple[Hashable, Work, "Future[None]"]]:
        """Take the next batch, one piece from each user in turn. A user who was served goes to the end of the line."""
        batch: list[tuple[Hashable, Work, Future[None]]] = []
        turns = deque(user for user in self._waiting if self._may_begin(user))
        waiting = sum(len(self._waiting[user]) for user in turns)
        more = sum(self._most_batches(user) - self._batches[user] for user in turns)
        free = max(1, min(self.workers - self.running, more))
        share = -(-waiting // free)  # rounded up
        while turns and len(batch) < min(self.max_batch, share):
            user = turns.popleft()
            own = self._waiting.pop(user)
            work, future = own.popleft()
            if own:
                self._waiting[user] = own
                turns.append(user)
            if future.set_running_or_notify_cancel():
                batch.append((user, work, future))
        self._batches.update({user for user, _, _ in batch})
        return batch

    def _serve(self) -> None:
        give_way()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or any(map(self._may_begin, self._waiting)))
                if self._closed:
                    return
                batch = self._take()
                self.running += bool(batch)
            if not batch:
                continue
            try:
                self._run([work for _, work, _ in batch])
            except BaseException as error:  # noqa: BLE001  whoever waits gets it, and the thread goes on
                for _, _, future in batch:
                    future.set_exception(error)
            else:
                for _, _, future in batch:
                    future.set_result(None)
            with self._changed:
                self.running -= 1
                self._batches -= Counter({user for user, _, _ in batch})
                self._changed.notify_all()  # some may begin another
            del batch
