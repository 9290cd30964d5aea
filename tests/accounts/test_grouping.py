"""Writes of several threads in one transaction."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from imgcap.accounts.database import Database, DatabaseUnavailable
from imgcap.accounts.grouping import GroupedWrites
from imgcap.accounts.tables import User


class Counted(Database):
    """A database that counts its transactions, and is unavailable when a test says so."""

    def __init__(self, database: Database) -> None:
        super().__init__(database.engine, 5)
        self.transactions, self.is_down = 0, False

    @contextmanager
    def session(self, **options):
        self.transactions += 1
        if self.is_down:
            raise DatabaseUnavailable("down")
        with super().session(**options) as session:
            yield session


@pytest.fixture
def counted(database):
    return Counted(database)


def create(name):
    def write(session: Session) -> str:
        session.add(User(name=name, password_hash=""))
        session.flush()
        return name

    return write


def run_together(counted, writes, *, down=False):
    """Run the writes from a thread each while another holds the transaction before theirs; return their futures."""
    grouped, began, go = GroupedWrites(counted), threading.Event(), threading.Event()

    def hold(session):
        began.set()
        assert go.wait(60)

    with ThreadPoolExecutor(len(writes) + 1) as pool:
        first = pool.submit(grouped.run, hold)
        assert began.wait(60)
        futures = [pool.submit(grouped.run, write) for write in writes]
        while len(grouped._waiting) < len(writes):
            threading.Event().wait(0.01)
        counted.is_down = down
        go.set()
        first.result(60)
    return futures


def names(database):
    with database.session(read_only=True) as session:
        return set(session.scalars(select(User.name)))


def test_what_waits_together_is_written_in_one_transaction(counted):
    futures = run_together(counted, [create(f"user{number}") for number in range(5)])
    assert [future.result() for future in futures] == [f"user{number}" for number in range(5)]
    assert counted.transactions == 2
    assert names(counted) == {f"user{number}" for number in range(5)}


def test_one_that_fails_fails_alone_and_leaves_nothing(counted):
    def fail(session):
        create("half")(session)
        raise ValueError("mine")

    good, bad, same, other = run_together(counted, [create("good"), fail, create("good"), create("other")])
    assert other.result() == "other"
    with pytest.raises(ValueError, match="mine"):
        bad.result()
    assert sorted(future.exception() is None for future in (good, same)) == [False, True]  # a name is given once
    assert names(counted) == {"good", "other"}


def test_without_a_database_all_fail_after_one_try(counted):
    futures = run_together(counted, [create("one"), create("two"), create("three")], down=True)
    assert all(isinstance(future.exception(), DatabaseUnavailable) for future in futures)
    assert counted.transactions == 2
    counted.is_down = False
    assert GroupedWrites(counted).run(create("one")) == "one"
    assert names(counted) == {"one"}


def test_a_write_alone_needs_nobody_else(counted):
    grouped = GroupedWrites(counted)
    assert grouped.run(create("one")) == "one"
    assert grouped.run(lambda session: session.scalar(select(func.count()).select_from(User))) == 1
    assert counted.transactions == 2
