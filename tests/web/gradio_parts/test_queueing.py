"""The fair queue on its own: a page of one function, no server."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
import pytest
from gradio import queueing
from gradio.data_classes import PredictBodyInternal
from starlette.exceptions import HTTPException
from starlette.requests import Request

from imgcap.web.gradio_parts.queueing import CLIENT_GONE, FairQueue
from imgcap.web.gradio_parts.tickets import ANSWER_SECONDS, FRESH_SECONDS, IDLE_SECONDS

PER_USER = 10


@dataclass
class Bench:
    """A queue before a function that records its arguments, and that a test can hold up."""

    queue: FairQueue
    ran: list[str] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)
    began: threading.Event = field(default_factory=threading.Event)

    async def ask(self, user: str, name: str, session: str | None = None) -> str:
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/gradio_api/queue/join",
            "headers": [(b"host", b"here.test")],
        }
        scope |= {"query_string": b"", "server": ("here.test", 80), "scheme": "http", "root_path": ""}
        request = Request(scope)
        body = PredictBodyInternal(
            data=[name], fn_index=0, session_hash=session or f"{user}-{name}", request=request, simple_format=True
        )
        success, event_id, _ = await self.queue.push(body, request, user)
        assert success
        return event_id

    async def until(self, is_true: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not is_true():  # noqa: ASYNC110  what is waited for is no event of ours
                await asyncio.sleep(0.01)

    def deliver(self, event_id: str, session: str) -> None:
        """Do what Gradio's stream does once an answer is sent."""
        self.queue.pending_event_ids_session[session].remove(event_id)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench: Any = None

    def note(name: str) -> str:
        if name == "wait":
            bench.go.wait(20)
        if name == "leave":
            bench.began.set()
            CLIENT_GONE.get().result(20)
        bench.ran.append(name)
        return name

    with gr.Blocks(analytics_enabled=False) as page:
        text = gr.Textbox()
        text.change(note, text, text, api_name="note")
    page.queue()
    page.max_threads = 8
    page._queue = FairQueue(page, per_user=PER_USER, running_per_user=1, total=15)
    page._queue.set_server_app(page.app)
    bench = Bench(page._queue)
    page.run_startup_events()
    yield bench
    bench.go.set()
    page._queue.close()


def test_what_is_overridden_is_there_to_be_overridden():
    names = {"start", "push", "send_message", "get_events", "start_processing", "compute_analytics_summary"}
    assert names <= set(vars(queueing.Queue)) & set(vars(FairQueue))
    plain = queueing.Queue(True, 1, 1, None, gr.Blocks())
    used = {"pending_messages_per_session", "pending_event_ids_session", "event_ids_to_events", "active_jobs"}
    used |= {"ANALYTICS_MAX_EVENTS", "stopped", "delete_lock", "event_queue_per_concurrency_id", "_asyncio_tasks"}
    assert used <= set(vars(plain))


async def test_users_take_turns_however_much_one_of_them_asks(bench):
    await bench.ask("ada", "wait")
    for n in range(PER_USER - 1):
        await bench.ask("ada", f"ada{n}")
    await bench.ask("bob", "bob0")
    await bench.ask("bob", "bob1")
    await bench.until(lambda: "bob1" in bench.ran)  # although ada's first still runs
    assert bench.ran == ["bob0", "bob1"]
    bench.go.set()
    await bench.until(lambda: len(bench.ran) == PER_USER + 2)
    assert bench.ran[3:] == [f"ada{n}" for n in range(PER_USER - 1)]


async def test_one_user_may_have_so_many_outstanding_and_no_more(bench):
    events = [await bench.ask("ada", str(n), session="tab") for n in range(PER_USER)]
    with pytest.raises(HTTPException) as refused:
        await bench.ask("ada", "one more")
    assert refused.value.status_code == 429
    assert int(refused.value.headers["Retry-After"]) > 0
    await bench.ask("bob", "another user")
    await bench.until(lambda: not bench.queue.is_working())
    assert bench.queue.tickets.count_outstanding("ada") == PER_USER  # finished, but nobody has read them
    bench.deliver(events[0], "tab")
    await bench.ask("ada", "one more")


async def test_all_users_together_are_limited_too(bench):
    for n in range(15):
        await bench.ask(f"user{n}", "x")
    with pytest.raises(HTTPException) as refused:
        await bench.ask("late", "x")
    assert refused.value.status_code == 503


async def test_an_event_whose_session_is_gone_ends_nothing(bench):
    await bench.ask("ada", "wait")
    await bench.ask("ada", "lost")
    del bench.queue.pending_messages_per_session["ada-lost"]
    bench.go.set()
    await bench.ask("bob", "next")
    await bench.until(lambda: "next" in bench.ran and not bench.queue.is_working())
    assert bench.queue.is_alive()
    assert bench.queue.restarts == 0


async def test_no_number_of_sessions_makes_the_queue_lose_one_that_waits(bench):
    waiting = await bench.ask("ada", "wait")
    for n in range(2100):
        bench.queue.pending_messages_per_session[f"session{n}"] = asyncio.Queue()
    bench.go.set()
    await bench.until(lambda: "wait" in bench.ran and not bench.queue.is_working())
    assert bench.queue.tickets.may_read("ada", waiting)
    assert "ada-wait" in bench.queue.pending_messages_per_session


@pytest.mark.parametrize("error", [KeyError("session"), asyncio.CancelledError()])
async def test_whatever_ends_the_dispatcher_it_is_started_again(bench, monkeypatch, error):
    def fail() -> None:
        monkeypatch.undo()
        raise error

    monkeypatch.setattr(bench.queue, "get_events", fail)
    await bench.ask("ada", "first")
    await bench.until(lambda: bench.queue.restarts == 1)
    assert not bench.queue.is_alive()  # what healthz reports
    await bench.ask("ada", "second")
    await bench.until(lambda: bench.ran == ["first", "second"])
    assert bench.queue.is_alive()


async def test_nothing_is_kept_of_what_was_delivered(bench):
    for n in range(50):
        bench.deliver(await bench.ask("ada", str(n)), f"ada-{n}")
    await bench.until(lambda: len(bench.ran) == 50 and not bench.queue.is_working())
    bench.queue._sweep(time.monotonic())
    bench.queue._sweep(time.monotonic() + IDLE_SECONDS + 1)
    queue = bench.queue
    kept = [
        queue.pending_messages_per_session,
        queue.pending_event_ids_session,
        queue.tickets._tickets,
        queue.tickets._of_user,
    ]
    kept += [queue.tickets._owners, queue.tickets._idle_since, queue._running, queue._served, queue.event_ids_to_events]
    assert [len(table) for table in kept] == [0] * len(kept)
    assert len(queue.event_analytics) <= 1


async def test_an_answer_that_nobody_reads_is_dropped_and_holds_nothing_up(bench):
    event = await bench.ask("ada", "unread")
    await bench.until(lambda: not bench.queue.is_working())
    now = time.monotonic()
    assert bench.queue.tickets.have_fresh_answers()
    bench.queue.tickets.get(event).finished_at = now - FRESH_SECONDS - 1
    assert not bench.queue.tickets.have_fresh_answers()
    bench.queue._sweep(now + ANSWER_SECONDS)
    assert not bench.queue.tickets.may_read("ada", event)
    assert bench.queue.tickets.count_outstanding("ada") == 0


async def test_events_and_sessions_belong_to_whoever_began_them(bench):
    event = await bench.ask("ada", "mine", session="tab")
    assert bench.queue.tickets.may_read("ada", event)
    assert not bench.queue.tickets.may_read("bob", event)
    assert bench.queue.tickets.may_use("ada", "tab")
    assert not bench.queue.tickets.may_use("bob", "tab")
    with pytest.raises(HTTPException) as refused:
        await bench.ask("bob", "into another's session", session="tab")
    assert refused.value.status_code == 403


async def test_an_event_that_is_cancelled_before_it_begins_frees_its_turn(bench):
    await bench.ask("ada", "cancelled")
    async with bench.queue.delete_lock:
        pass
    await bench.queue._begin_one()
    for task in list(bench.queue._asyncio_tasks):
        task.cancel()  # before it has run at all, as /cancel may
    await bench.ask("ada", "next")
    await bench.until(lambda: bench.ran == ["next"] and not bench.queue.is_working())
    assert bench.queue.active_jobs == [None] * len(bench.queue.active_jobs)


async def test_what_a_deleted_user_had_asked_for_is_dropped(bench):
    await bench.ask("ada", "wait")
    await bench.ask("ada", "never")
    await bench.until(lambda: bench.queue.active_jobs[0] is not None)
    await bench.queue.drop_user("ada")
    bench.go.set()
    await bench.ask("bob", "next")
    await bench.until(lambda: "next" in bench.ran and not bench.queue.is_working())
    assert "never" not in bench.ran
    assert bench.queue.tickets.count_outstanding("ada") == 0
    assert "ada-wait" not in bench.queue.pending_messages_per_session


async def test_a_function_learns_that_its_client_has_left(bench):
    await bench.ask("ada", "leave", "tab")
    await bench.until(bench.began.is_set)
    await bench.queue.clean_events(session_hash="another tab")
    assert bench.ran == []
    await bench.queue.clean_events(session_hash="tab")
    await bench.until(lambda: bench.ran == ["leave"])
