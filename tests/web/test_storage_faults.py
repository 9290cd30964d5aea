"""A database that is full, locked, read-only or gone, while the server runs: sentences, and captions all the same."""

import contextlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from running import SHARP
from sqlalchemy import Connection, event

from imgcap.web.server import Server


@contextlib.contextmanager
def full(server: Server) -> Iterator[None]:
    """No page more, as a full disk answers: SQLITE_FULL."""
    with contextlib.closing(sqlite3.connect(_path(server))) as connection:
        connection.execute("VACUUM")  # no page is free either
    with _pragma(server, "max_page_count = 1", "max_page_count = 1073741823"):
        yield


@contextlib.contextmanager
def read_only(server: Server) -> Iterator[None]:
    """No write at all: SQLITE_READONLY."""
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
    """Another process keeps readers out, too."""
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


@pytest.fixture
def impatient(launched, monkeypatch):
    monkeypatch.setattr(launched.services.database, "_wait_seconds", 0.3)
    return launched


def caption(member, path):
    event_id = member.post("/gradio_api/call/v2/caption", json={"image": {"path": path}}).json()["event_id"]
    answer = member.get(f"/gradio_api/call/caption/{event_id}").text
    return json.loads(re.search(r"^event: complete\ndata: (.*)$", answer, re.MULTILINE)[1])[0]


@pytest.mark.parametrize("fault", [full, locked, read_only, vanished, shut])
def test_everything_is_answered_in_a_sentence_and_the_caption_is_shown(impatient, member, fault: Fault):
    with SHARP.open("rb") as photo:
        (path,) = member.post("/gradio_api/upload", files={"files": photo}).json()
    stranger = httpx.Client(base_url=impatient.url, timeout=60)
    with stranger, fault(impatient):
        answers = [
            member.get("/"),
            member.get("/history"),
            member.get("/account"),
            member.get("/history.csv"),
            stranger.post("/login", data={"username": "nobody", "password": "wrong"}),
            stranger.post("/login/register", data={"username": "someone-new", "password": "four blue ducks sing"}),
            member.post("/history/delete", data={"all": "1"}),
            member.post("/gradio_api/call/v2/caption", json={"image": {"path": "/none"}}),
        ]
        if fault in {full, locked, read_only}:  # sessions can still be read
            reading = caption(member, path)
            assert reading["caption"]
            assert reading["error"].startswith(
                "This reading is not in your history. The server cannot reach its storage"
            )
    for answer in answers:
        assert answer.status_code in {200, 303, 400, 401, 503}, (answer.url, answer.status_code)
        if answer.status_code == 503:
            assert "cannot reach its storage just now; try again in a minute" in answer.text
    if fault is shut:
        assert {answer.status_code for answer in answers[:4]} == {503}
    assert caption(member, path)["error"] is None  # and all is well again
    assert len(member.get("/history.json").json()) == 1
