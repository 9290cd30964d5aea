"""A database that is full, locked, read-only or gone, while the server runs: sentences, and captions all the same."""

import contextlib
import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx
import pytest
from running import SHARP
from sqlalchemy import Connection, event

from imgcap.web.server import Server


@contextlib.contextmanager
def full(server: Server) -> Iterator[None]:
    """The database cannot grow, as on a full disk: SQLITE_FULL."""
    with contextlib.closing(sqlite3.connect(_path(server))) as connection:
        connection.execute("VACUUM")  # leave no free page
    with _pragma(server, "max_page_count = 1", "max_page_count = 1073741823"):
        yield


@contextlib.contextmanager
def read_only(server: Server) -> Iterator[None]:
    """The database refuses every write: SQLITE_READONLY."""
    with _pragma(server, "query_only = 1", "query_only = 0"):
        yield


@contextlib.contextmanager
def _pragma(server: Server, during: str, after: str) -> Iterator[None]:
    pragma = during

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA {pragma}")

    engine = server.services.database.engine
    event.listen(engine, "begin", begin)
    try:
        yield
    finally:
        pragma = after
        connections = [engine.connect() for _ in range(engine.pool.checkedin() + 1)]
        for connection in connections:
            connection.begin().rollback()
            connection.close()
        event.remove(engine, "begin", begin)


def _locked(server: Server, statement: str) -> contextlib.AbstractContextManager[object]:
    blocker = sqlite3.connect(_path(server), isolation_level=None)
    blocker.execute(statement)
    return contextlib.closing(blocker)


def locked(server: Server) -> contextlib.AbstractContextManager[object]:
    """Another process writes and does not end."""
    return _locked(server, "BEGIN IMMEDIATE")


def shut(server: Server) -> contextlib.AbstractContextManager[object]:
    """Another process writes and keeps readers out, too."""
    return _locked(server, "BEGIN EXCLUSIVE")


@contextlib.contextmanager
def vanished(server: Server) -> Iterator[None]:
    """Somebody moved the file away."""
    path = _path(server)
    away = path.rename(path.with_name("away.db"))
    try:
        yield
    finally:
        server.services.database.engine.dispose()
        away.rename(path)


def _path(server: Server) -> Path:
    return Path(str(server.services.database.engine.url.database))


Fault = Callable[[Server], contextlib.AbstractContextManager[object]]


_newcomers = count(1)
SECONDS = 5.0
"""Within which everything is answered; a machine that is slow at rest gets more."""
WAIT_SECONDS = 3.0
"""How long a lock is waited for in these tests. Twice would be more than `SECONDS`."""


@pytest.fixture
def patient(launched, monkeypatch):
    monkeypatch.setattr(launched.services.database, "_wait_seconds", WAIT_SECONDS)
    return launched


def caption(member, path):
    event_id = member.post("/gradio_api/call/v2/caption", json={"image": {"path": path}}).json()["event_id"]
    answer = member.get(f"/gradio_api/call/caption/{event_id}").text
    return json.loads(re.search(r"^event: complete\ndata: (.*)$", answer, re.MULTILINE)[1])[0]


@dataclass
class Answers:
    """What two clients were answered, and how long it took."""

    own: httpx.Client
    stranger: httpx.Client
    photo: str
    caption: dict[str, object] | None = None
    all: dict[str, httpx.Response] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def ask_everything(self, captioned: bool) -> None:
        for page in ("/", "/history", "/account", "/history.csv"):
            self._ask(page, lambda page=page: self.own.get(page))
        wrong = {"username": "nobody", "password": "wrong"}
        new = {"username": f"newcomer{next(_newcomers)}", "password": "four blue ducks sing"}
        self._ask("signing in", lambda: self.stranger.post("/login", data=wrong))
        self._ask("registering", lambda: self.stranger.post("/login/register", data=new))
        self._ask("deleting", lambda: self.own.post("/history/delete", data={"all": "1"}))
        image = {"image": {"path": "/none"}}
        self._ask("calling", lambda: self.own.post("/gradio_api/call/v2/caption", json=image))
        if captioned:
            began = time.monotonic()
            self.caption = caption(self.own, self.photo)
            self.seconds["captioning"] = time.monotonic() - began

    def _ask(self, name: str, ask: Callable[[], httpx.Response]) -> None:
        began = time.monotonic()
        self.all[name] = ask()
        self.seconds[name] = time.monotonic() - began


@pytest.mark.parametrize("fault", [full, locked, read_only, vanished, shut])
def test_everything_is_answered_in_a_sentence_and_the_caption_is_shown(patient, member, fault: Fault):
    with SHARP.open("rb") as photo:
        (path,) = member.post("/gradio_api/upload", files={"files": photo}).json()
    caption(member, path)  # the model is loaded
    with httpx.Client(base_url=patient.url, timeout=60) as stranger:
        at_rest, answers = Answers(member, stranger, path), Answers(member, stranger, path)
        at_rest.ask_everything(captioned=True)
        member.post("/history/delete", data={"all": "1"})
        with fault(patient):
            answers.ask_everything(captioned=fault in {full, locked, read_only})  # sessions can still be read
    for name, seconds in answers.seconds.items():
        assert seconds < max(SECONDS, WAIT_SECONDS + 4 * at_rest.seconds[name]), name
    for name, answer in answers.all.items():
        assert answer.status_code in {200, 303, 400, 401, 503}, (name, answer.status_code)
        if answer.status_code == 503:
            assert "cannot reach its storage just now; try again in a minute" in answer.text
    refused = {name for name, answer in answers.all.items() if answer.status_code == 503}
    if fault is not full:  # there may be room for a name
        assert "registering" in refused
    if fault is shut:
        assert refused >= {"/", "/history", "/account", "/history.csv"}
    if answers.caption is not None:
        assert answers.caption["caption"]
        assert answers.caption["error"].startswith(
            "This reading is not in your history. The server cannot reach its storage"
        )
    assert caption(member, path)["error"] is None  # and all is well again
    assert len(member.get("/history.json").json()) == 1


def test_those_who_wait_for_a_lock_keep_nobody_from_reading(patient, member):
    with locked(patient), ThreadPoolExecutor(30) as pool:
        deletions = [pool.submit(member.post, "/history/delete", data={"all": "1"}) for _ in range(30)]
        time.sleep(0.5)
        began = time.monotonic()
        assert member.get("/history").status_code == 200
        assert time.monotonic() - began < WAIT_SECONDS / 2
        assert {deletion.result().status_code for deletion in deletions} == {503}
