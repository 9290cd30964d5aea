"""Gradio's queue, made fair to users, bounded in memory, and restarted if something ends it.

Gradio 6.31's own queue has three faults. It serves events in the order in which they came, whoever sent them. It keeps
the messages of at most 2,000 sessions, and its dispatcher ends with a KeyError when a session with a waiting event is
evicted. It never forgets a session whose answer was delivered. `FairQueue` replaces these parts. The names that it
overrides are Gradio's internals: `tests/web/gradio_parts/test_queueing.py` fails if a new version moves them.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import ContextVar, copy_context
from typing import Any

import fastapi
import gradio as gr
from gradio import queueing
from gradio.data_classes import PredictBodyInternal
from starlette.exceptions import HTTPException

from imgcap.web.gradio_parts.tickets import Tickets

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0
CLIENT_GONE: ContextVar["Future[None] | None"] = ContextVar("CLIENT_GONE", default=None)
"""Within an event's function: done once the client has left, so that nothing more needs to be computed for it."""


class FairQueue(queueing.Queue):
    """The queue of all events. It belongs to the event loop: other threads only read from it.

    `tickets` knows whose events and sessions there are.

    Args:
        blocks: the page.
        per_user: events that one user may have outstanding: waiting, running, or finished and not yet read.
        running_per_user: how many of these may run at once.
        total: events that all users together may have outstanding.
    """

    def __init__(self, blocks: gr.Blocks, *, per_user: int, running_per_user: int, total: int) -> None:
        super().__init__(
            live_updates=False,
            concurrency_count=blocks.max_threads,
            update_intervals=1,
            max_size=None,
            blocks=blocks,
            default_concurrency_limit=None,
        )
        # A plain dictionary: Gradio's LRU cache of 2,000 loses the oldest session, with its waiting events.
        self.pending_messages_per_session: dict[str, Any] = {}
        self.ANALYTICS_MAX_EVENTS = 1
        self.tickets = Tickets(self.pending_event_ids_session, self.pending_messages_per_session)
        self.restarts = 0
        """How often a task of the queue ended and was started again."""
        self._per_user, self._running_per_user, self._total = per_user, running_per_user, total
        self._running: Counter[str] = Counter()
        self._served: dict[str, int] = {}
        self._turn = 0
        self._wake = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    # For the rest of the server.

    def is_alive(self) -> bool:
        """Return whether events are being dispatched."""
        return bool(self._tasks) and not self.stopped and not any(task.done() for task in self._tasks.values())

    def is_working(self) -> bool:
        """Return whether an event waits or runs."""
        return bool(self.event_ids_to_events or self._asyncio_tasks)

    async def drop_user(self, user: str) -> None:
        """Drop a user's events: waiting ones never begin, and running ones are not delivered."""
        for event_id in self.tickets.of_user(user):
            await self.clean_events(event_id=event_id)
            self.tickets.drop(event_id)
        self.tickets.drop_sessions(user)

    # Called by Gradio.

    def start(self) -> None:
        """Begin to dispatch."""
        self.active_jobs: list[Any] = [None] * self.max_thread_count
        self.stopped = False
        self._keep_running(self.start_processing)
        self._keep_running(self._sweep_regularly)

    async def push(
        self, body: PredictBodyInternal, request: fastapi.Request, username: str | None
    ) -> tuple[bool, Any, Any]:
        """Queue an event.

        Raises:
            HTTPException: 429, the user has too many outstanding; 503, all users together have; 403, the session is
                another user's; 404, there is no such function.
        """
        user = username or ""
        if body.session_hash is not None and not self.tickets.may_use(user, body.session_hash):
            raise HTTPException(403, "That session belongs to somebody else; reload the page.")
        function = self.blocks.fns.get(body.fn_index) if body.fn_index is not None else None
        if body.fn_index is not None and (function is None or function.fn is None):  # None: the page does it alone
            raise HTTPException(404, "This page has changed; reload it.")
        if self.tickets.count_outstanding(user) >= self._per_user:
            raise HTTPException(
                429,
                f"You have {self._per_user} requests waiting or unread, which is the most allowed; read their answers "
                "and try again in a few seconds.",
                {"Retry-After": "5"},
            )
        if len(self.tickets) >= self._total:
            raise HTTPException(503, "The server is busy; try again in a minute.", {"Retry-After": "60"})
        success, event_id, state = await super().push(body, request, username)
        if success:
            self.tickets.add(event_id, user, str(body.session_hash))
            self._wake.set()
        return success, event_id, state

    async def clean_events(self, *, session_hash: str | None = None, event_id: str | None = None) -> None:
        """Drop the events of a session, or one event, whose client has left, and tell those that run."""
        await super().clean_events(session_hash=session_hash, event_id=event_id)
        for event in [event for job in self.active_jobs for event in job or () if not event.alive]:
            ticket = self.tickets.get(event._id)
            if ticket is not None and not ticket.gone.done():
                ticket.gone.set_result(None)

    def send_message(self, event: queueing.Event, event_message: Any) -> None:
        """Give a message to an event's session; an event whose session is gone is dropped."""
        if event.session_hash in self.pending_messages_per_session:
            super().send_message(event, event_message)
        else:
            event.alive = False

    def get_events(self) -> tuple[list[queueing.Event], bool, str] | None:
        """Take the next event: among the users who may run one more, the first event of the one served longest ago."""
        first: dict[str, tuple[queueing.EventQueue, queueing.Event]] = {}
        for event_queue in self.event_queue_per_concurrency_id.values():
            for event in event_queue.queue:
                user = event.username or ""
                if self._running[user] >= self._running_per_user:
                    continue
                if user not in first or event.enqueue_time < first[user][1].enqueue_time:
                    first[user] = (event_queue, event)
        if not first:
            return None
        user = min(first, key=lambda name: self._served.get(name, 0))
        event_queue, event = first[user]
        event_queue.queue.remove(event)
        self._turn += 1
        self._served[user] = self._turn
        return [event], False, event_queue.concurrency_id

    async def start_processing(self) -> None:
        """Dispatch events until the queue is closed."""
        while not self.stopped:
            self._wake.clear()
            while len(self) and None in self.active_jobs and (await self._begin_one()):
                pass
            try:
                await asyncio.wait_for(self._wake.wait(), SWEEP_SECONDS)
            except TimeoutError:
                continue

    def compute_analytics_summary(self, records: Any) -> dict[str, Any]:  # noqa: ARG002  the signature is Gradio's
        """Return no statistics, since Gradio would build a data frame of the last 10,000 events after each event."""
        return {"functions": {}}

    # Internal.

    async def _begin_one(self) -> bool:
        async with self.delete_lock:
            found = self.get_events()
        if found is None:
            return False
        events, batch, concurrency_id = found
        self.active_jobs[self.active_jobs.index(None)] = events
        started, fn = time.time(), events[0].fn
        event_queue = self.event_queue_per_concurrency_id[concurrency_id]
        event_queue.current_concurrency += 1
        event_queue.start_times_per_fn[fn].add(started)
        self._running[events[0].username or ""] += 1
        context, ticket = copy_context(), self.tickets.get(events[0]._id)
        context.run(CLIENT_GONE.set, None if ticket is None else ticket.gone)
        task = asyncio.get_running_loop().create_task(self.process_events(events, batch, started, fn), context=context)
        # /cancel finds the task by this name.
        queueing.set_task_name(task, events[0].session_hash, fn._id, events[0]._id, batch)
        self._asyncio_tasks.add(task)
        task.add_done_callback(lambda ended: self._end(events, ended))
        return True

    def _end(self, events: list[queueing.Event], task: "asyncio.Task[None]") -> None:
        """Account for events that ran, or that /cancel ended before they began."""
        self._asyncio_tasks.discard(task)
        self.active_jobs = [None if job is events else job for job in self.active_jobs]
        for event in events:
            self._running[event.username or ""] -= 1
            self.event_ids_to_events.pop(event._id, None)
            ticket = self.tickets.get(event._id)
            if ticket is not None:
                ticket.finished_at = time.monotonic()
            if not event.alive:
                self.tickets.drop(event._id)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("An event ended in %s.", type(error).__name__)
        self._wake.set()

    async def _sweep_regularly(self) -> None:
        while not self.stopped:
            await asyncio.sleep(SWEEP_SECONDS)
            self._sweep(time.monotonic())

    def _sweep(self, now: float) -> None:
        """Forget what is no longer needed of events, sessions and users."""
        self.tickets.sweep(now, self.event_ids_to_events)
        for user in [user for user, count in self._running.items() if count <= 0]:
            del self._running[user]
        for user in [user for user in self._served if not self.tickets.of_user(user)]:
            del self._served[user]

    def _keep_running(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run one of the queue's tasks, and start it again if it ends before the queue closes."""
        if self.stopped:
            return
        loop = asyncio.get_running_loop()
        task = self._tasks[work.__name__] = loop.create_task(work())

        def watch(ended: asyncio.Task[None]) -> None:
            if self.stopped:
                return
            error = None if ended.cancelled() else ended.exception()
            logger.error("The queue's %s ended and is started again.", work.__name__, exc_info=error)
            self.restarts += 1
            loop.call_later(0.05, self._keep_running, work)

        task.add_done_callback(watch)
