"""Measure SQLite's journal modes: `python -m benchmarks.database [--seconds S]`; or kill writers: `--kills N`.

For each mode, two processes store readings and two look them up in one database for a few seconds, as replicas of a
busy server would. The table gives the readings stored and looked up per second, and percentiles of their times.

With `--kills N`, two processes store readings in the mode that the app chooses. They are killed (SIGKILL) in turn at
random moments and started again, N times in all. Then every acknowledged reading must be complete; if one is lost or
torn, the exit status is 1.
"""

import argparse
import hashlib
import multiprocessing
import os
import random
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import text

if TYPE_CHECKING:
    from imgcap.settings import Settings

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


def _keep_until_killed(folder: str, acknowledged: str) -> None:
    """Store readings from two threads, and write each id into a file once the reading is stored."""
    from imgcap.accounts.database import open_database
    from imgcap.accounts.history import History
    from imgcap.reading import Reading
    from imgcap.settings import Settings

    settings = Settings(data_dir=Path(folder), history_limit=10_000_000, database_wait_seconds=60)
    history = History(open_database(settings), settings)
    notes = os.open(acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def keep() -> None:
        while True:
            thumbnail = os.urandom(random.randrange(500, 8_000))
            reading = Reading(None, True, None, 250.5, 100.0, hashlib.sha256(thumbnail).hexdigest())
            entry = history.add(FIRST_ACCOUNT, reading, thumbnail)
            os.write(notes, f"{entry} {reading.caption}\n".encode())  # one write, so that no line is cut

    threads = [threading.Thread(target=keep) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@dataclass(frozen=True)
class Survey:
    """The content of a database after the kills."""

    journal: str
    acknowledged: int
    lost: int
    torn: int
    integrity: str


def look_for(acknowledged: Mapping[str, str], settings: "Settings") -> Survey:
    """Return how many acknowledged readings, given as captions by id, a database has lost or torn."""
    from imgcap.accounts.database import open_database

    opened = open_database(settings)
    with opened.session(read_only=True) as session:
        rows = session.execute(text("SELECT id, caption, thumbnail FROM history")).all()
        integrity = str(session.scalar(text("PRAGMA integrity_check")))
        journal = str(session.scalar(text("PRAGMA journal_mode")))
    opened.close()
    kept = {str(entry): caption for entry, caption, _ in rows}
    lost = [entry for entry, caption in acknowledged.items() if kept.get(entry) != caption]
    torn = [entry for entry, caption, data in rows if hashlib.sha256(data).hexdigest() != caption]
    return Survey(journal, len(acknowledged), len(lost), len(torn), integrity)


def kill_writers(kills: int, longest: float = 0.4) -> Survey:
    """Kill one of two writing processes repeatedly, and return what the database then holds.

    Args:
        kills: number of kills.
        longest: maximum of the random number of seconds between a process's first reading and its end.
    """
    from imgcap.accounts.accounts import Accounts
    from imgcap.accounts.database import open_database
    from imgcap.settings import Settings

    context = multiprocessing.get_context("forkserver")  # a process with threads, such as a test's, should not fork
    context.set_forkserver_preload(["imgcap.accounts.history", "numpy"])
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder))
        opened = open_database(settings)
        Accounts(opened, settings).create("ann", "correct horse battery staple")
        opened.close()
        notes = Path(folder) / "acknowledged"
        notes.mkdir()

        def start(number: int) -> tuple[multiprocessing.process.BaseProcess, Path]:
            file = notes / str(number)
            process = context.Process(target=_keep_until_killed, args=(folder, str(file)), daemon=True)
            process.start()
            return process, file

        writers = [start(0), start(1)]
        for number in range(kills):
            process, file = writers.pop(0)
            while not file.exists() or not file.stat().st_size:
                if not process.is_alive():
                    raise SystemExit("A process that writes ended by itself.")
                time.sleep(0.005)
            time.sleep(random.uniform(0, longest))
            process.kill()
            process.join()
            writers.append(start(number + 2))
        for process, _ in writers:
            process.kill()
            process.join()
        noted = dict(line.split() for file in notes.iterdir() for line in file.read_text().splitlines())
        return look_for(noted, settings)


def main() -> None:
    """Print the table, or the result of the kills."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each mode")
    parser.add_argument("--kills", type=int, default=0, help="kill writing processes so many times instead")
    options = parser.parse_args()
    if options.kills:
        survey = kill_writers(options.kills)
        print(f"SQLite {sqlite3.sqlite_version}, journal mode {survey.journal}; {options.kills} kills:")
        print(f"{survey.acknowledged} readings acknowledged, {survey.lost} lost, {survey.torn} torn; ", end="")
        print(f"integrity check: {survey.integrity}")
        sys.exit(bool(survey.lost or survey.torn or survey.integrity != "ok"))
    seconds = options.seconds
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
