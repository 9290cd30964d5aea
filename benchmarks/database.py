"""Measure what a journal mode of SQLite costs: `python -m benchmarks.database [--seconds S]`.

For each mode, two processes keep readings and two look them up in one database for a few seconds, as replicas of a busy
server would. The table gives readings kept and looked up a second, and how long the slowest of each took.
"""

import argparse
import multiprocessing
import os
import sqlite3
import tempfile
import time
from pathlib import Path

import numpy as np
from sqlalchemy import text

MODES = ("WAL", "TRUNCATE", "DELETE")
FIRST_ACCOUNT = 1
"""The id of the one account that `measure` makes."""


def _work(
    folder: str, writing: bool, seconds: float, answers: "multiprocessing.Queue[tuple[bool, list[float]]]"
) -> None:
    from imgcap.accounts.database import open_database
    from imgcap.accounts.history import History
    from imgcap.reading import Reading
    from imgcap.settings import Settings

    settings = Settings(data_dir=Path(folder), history_limit=1_000_000)
    history = History(open_database(settings), settings)
    reading, thumbnail = Reading(None, True, None, 250.5, 100.0, "A dog runs."), os.urandom(12_000)
    times = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.monotonic()
        if writing:
            history.add(FIRST_ACCOUNT, reading, thumbnail)
        else:
            history.search(FIRST_ACCOUNT)
        times.append(1000 * (time.monotonic() - start))
    answers.put((writing, times))


def measure(mode: str, seconds: float) -> dict[bool, list[float]]:
    """Return the milliseconds of every write (True) and every look-up (False) under a journal mode."""
    from imgcap.accounts import database as module
    from imgcap.accounts.accounts import Accounts
    from imgcap.settings import Settings

    module.journal_mode = lambda **_: mode  # type: ignore[assignment] - inherited by the processes, which are forked
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder))
        opened = module.open_database(settings)
        with opened.session(read_only=True) as session:
            assert session.scalar(text("PRAGMA journal_mode")) == mode.lower()  # noqa: S101 - the mode that is measured
        Accounts(opened, settings).create("ann", "correct horse battery staple")
        opened.close()
        context = multiprocessing.get_context("fork")
        answers: multiprocessing.Queue[tuple[bool, list[float]]] = context.Queue()
        workers = [
            context.Process(target=_work, args=(folder, writing, seconds, answers))
            for writing in (True, True, False, False)
        ]
        for worker in workers:
            worker.start()
        times: dict[bool, list[float]] = {True: [], False: []}
        for _ in workers:
            writing, taken = answers.get()
            times[writing] += taken
        for worker in workers:
            worker.join()
    return times


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    seconds = parser.parse_args().seconds
    print(f"SQLite {sqlite3.sqlite_version}; two processes write, two read, {seconds:g} s a mode")
    print("| journal mode | kept a second | p50 ms | p99 ms | looked up a second | p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|---|")
    for mode in MODES:
        times = measure(mode, seconds)
        cells = [
            cell
            for taken in (times[True], times[False])
            for cell in (f"{len(taken) / seconds:.0f}", *(f"{value:.1f}" for value in np.percentile(taken, (50, 99))))
        ]
        print(f"| {mode} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
