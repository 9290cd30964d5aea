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
LOCKED = "the database cannot be used: database is locked"
"""What is logged after each vain wait for a lock."""


def caption(member, path):
    event_id = member.post("/gradio_api/call/v2/caption", json={"image": {"path": path}}).json()["event_id"]
    answer = member.get(f"/gradio_api/call/caption/{event_id}").text
    return json.loads(re.search(r"^event: complete\ndata: (.*)$", answer, re.MULTILINE)[1])[0]


@dataclass
class Answers:
    """What two clients were answered, and how often each request waited for a lock in vain."""

    own: httpx.Client
    stranger: httpx.Client
    photo: str
    log: pytest.LogCaptureFixture
    caption: dict[str, object] | None = None
    all: dict[str, httpx.Response] = field(default_factory=dict)
    waits: dict[str, int] = field(default_factory=dict)

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
            with self._counting("captioning"):
                self.caption = caption(self.own, self.photo)

    def _ask(self, name: str, ask: Callable[[], httpx.Response]) -> None:
        with self._counting(name):
            self.all[name] = ask()

    @contextlib.contextmanager
    def _counting(self, name: str) -> Iterator[None]:
        self.log.clear()
        yield
        self.waits[name] = self.log.messages.count(LOCKED)


@pytest.mark.parametrize("fault", [full, locked, read_only, vanished, shut])
def test_everything_is_answered_in_a_sentence_and_the_caption_is_shown(
    launched, member, fault: Fault, monkeypatch, caplog
):
    with SHARP.open("rb") as photo:
        (path,) = member.post("/gradio_api/upload", files={"files": photo}).json()
    caption(member, path)  # the model is loaded
    member.post("/history/delete", data={"all": "1"})
    with httpx.Client(base_url=launched.url, timeout=60) as stranger, monkeypatch.context() as patch:
        patch.setattr(launched.services.database, "_wait_seconds", 0.2)
        answers = Answers(member, stranger, path, caplog)
        with fault(launched):
            answers.ask_everything(captioned=fault in {full, locked, read_only})  # sessions can still be read
    assert max(answers.waits.values()) == (fault in {locked, shut}), answers.waits  # nobody waits twice
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


def test_those_who_wait_for_a_lock_keep_nobody_from_reading(launched, member, monkeypatch):
    monkeypatch.setattr(launched.services.database, "_wait_seconds", 60)
    with ThreadPoolExecutor(30) as pool:
        with locked(launched):
            deletions = [pool.submit(member.post, "/history/delete", data={"all": "1"}) for _ in range(30)]
            time.sleep(0.5)
            assert member.get("/history").status_code == 200
            assert not any(deletion.done() for deletion in deletions)
        assert {deletion.result().status_code for deletion in deletions} == {200}
