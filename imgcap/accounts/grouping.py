"""Do the writes that several threads ask for at the same time in one transaction.

A commit on SQLite waits for the disk several times, 5 to 40 ms in all, and with a rollback journal nothing can be read
meanwhile, so that every request waits that has to look up its session. Captions are finished several at a time: one
commit for all of them delays pages and checks less than one for each, and takes less time in all.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from imgcap.accounts.database import Database, DatabaseUnavailable

Result = TypeVar("Result")
_Piece = tuple[Callable[[Session], Any], "Future[Any]"]


class GroupedWrites:
    """Runs functions, which change no account and no sign-in, within transactions of a database. Any thread may call.

    It has no thread of its own: of the threads that call, one writes for all that wait by then.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Piece] = []
        self._changing = threading.Lock()
        self._writing = threading.Lock()

    def run(self, write: Callable[[Session], Result]) -> Result:
        """Return the result of a function of a session once what it wrote is on the disk.

        Args:
            write: may run more than once, each time in a new transaction, of which only the last is committed: where a
                group fails, each of its functions is run by itself, so that an error concerns nobody else.

        Raises:
            DatabaseUnavailable: the database cannot be used just now.
            Whatever else `write` raises.
        """
        future: Future[Result] = Future()
        with self._changing:
            self._waiting.append((write, future))
        with self._writing:
            if not future.done():  # another thread may have written this while it had the lock
                with self._changing:
                    group, self._waiting = self._waiting, []
                self._write_all(group)
        return future.result()

    def _write_all(self, group: Sequence[_Piece]) -> None:
        """Run every function of a group and give each its result, or its error."""
        try:
            with self._database.session(keeps_accounts=True) as session:
                results = [write(session) for write, _ in group]
        except BaseException as error:  # noqa: BLE001  whoever waits gets it
            if len(group) > 1 and not isinstance(error, DatabaseUnavailable):
                for piece in group:
                    self._write_all([piece])
                return
            for _, future in group:
                future.set_exception(error)
        else:
            for (_, future), result in zip(group, results, strict=True):
                future.set_result(result)
