"""Share a few places for work that takes long among the users who want one."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(eq=False)
class _Waiting:
    """Work that waits for a place."""

    user: int
    unhurried: bool
    admitted: threading.Event = field(default_factory=threading.Event)


class Turns:
    """A limited number of places for work that takes long; one user never has all of them.

    Work waits in the order in which it came. Unhurried work leaves one of several places to other work.

    Args:
        total: number of places.
        per_user: number of places that one user may have at once.
    """

    def __init__(self, total: int, per_user: int) -> None:
        self._free, self._free_to_unhurried = total, max(1, total - 1)
        self._per_user = per_user
        self._taken: Counter[int] = Counter()
        self._waiting: list[_Waiting] = []
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, user: int, *, unhurried: bool = False) -> Iterator[None]:
        """Wait for a place, and hold it during the block."""
        work = _Waiting(user, unhurried)
        with self._lock:
            self._waiting.append(work)
            self._admit()
        work.admitted.wait()
        try:
            yield
        finally:
            with self._lock:
                self._free += 1
                self._free_to_unhurried += unhurried
                self._taken[user] -= 1
                if not self._taken[user]:
                    del self._taken[user]
                self._admit()

    def _admit(self) -> None:
        """Give the free places to the work that waits, as far as it may have them."""
        for work in list(self._waiting):
            free = min(self._free, self._free_to_unhurried) if work.unhurried else self._free
            if free > 0 and self._taken[work.user] < self._per_user:
                self._waiting.remove(work)
                self._free -= 1
                self._free_to_unhurried -= work.unhurried
                self._taken[work.user] += 1
                work.admitted.set()
