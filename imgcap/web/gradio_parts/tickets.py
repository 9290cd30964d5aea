"""Remember who asked for each event and began each session, until the event's answer is delivered or dropped."""

import time
from collections import defaultdict
from collections.abc import Container
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

ANSWER_SECONDS = 300.0
"""How long a finished answer is kept for a client that has not read it."""
FRESH_SECONDS = 5.0
"""How long an unread answer may delay a shutdown, counted from when it was finished."""
IDLE_SECONDS = 10.0
"""How long the messages of a session are kept after its last event was delivered."""


@dataclass
class Ticket:
    """One event, from its request until its answer is delivered or dropped."""

    user: str
    session: str
    finished_at: float | None = None
    gone: "Future[None]" = field(default_factory=Future)
    """Done once the client has left while the event runs."""


class Tickets:
    """The events that wait, run, or are finished and not yet read, and the sessions of browser tabs and clients.

    It belongs to the event loop: other threads only read from it.

    Args:
        pending: of Gradio's queue: by session, the ids of the events whose answers are not yet delivered.
        messages: of Gradio's queue: by session, what is to be sent.
    """

    def __init__(self, pending: dict[str, set[str]], messages: dict[str, Any]) -> None:
        self._pending, self._messages = pending, messages
        self._tickets: dict[str, Ticket] = {}
        self._of_user: defaultdict[str, set[str]] = defaultdict(set)
        self._owners: dict[str, str] = {}
        self._idle_since: dict[str, float] = {}

    def __len__(self) -> int:
        """Return the number of events of all users."""
        return len(self._tickets)

    def add(self, event_id: str, user: str, session: str) -> None:
        """Record a user's new event, and that the session is the user's."""
        self._tickets[event_id] = Ticket(user, session)
        self._of_user[user].add(event_id)
        self._owners[session] = user
        self._idle_since.pop(session, None)

    def get(self, event_id: str) -> Ticket | None:
        """Return the ticket of an event; None if it was delivered or dropped."""
        return self._tickets.get(event_id)

    def may_read(self, user: str, event_id: str) -> bool:
        """Return whether an event is the user's, and not yet delivered."""
        ticket = self._tickets.get(event_id)
        return ticket is not None and ticket.user == user

    def may_use(self, user: str, session: str) -> bool:
        """Return whether a session belongs to the user, or to nobody yet."""
        return self._owners.get(session, user) == user

    def of_user(self, user: str) -> list[str]:
        """Return the ids of a user's events."""
        return list(self._of_user.get(user, ()))

    def count_outstanding(self, user: str) -> int:
        """Return how many events of a user wait, run, or are finished and not yet read, and forget all others."""
        for event_id in self.of_user(user):
            if self._is_delivered(event_id, self._tickets[event_id]):
                self._forget(event_id)
        return len(self._of_user.get(user, ()))

    def have_fresh_answers(self) -> bool:
        """Return whether an answer was finished a moment ago and is not yet read, or is not finished."""
        now = time.monotonic()
        tickets = list(self._tickets.items())
        return any(
            not self._is_delivered(event_id, ticket)
            and (ticket.finished_at is None or now - ticket.finished_at < FRESH_SECONDS)
            for event_id, ticket in tickets
        )

    def drop(self, event_id: str) -> None:
        """Forget an event whose answer nobody will read."""
        ticket = self._tickets.get(event_id)
        if ticket is not None:
            self._pending.get(ticket.session, set()).discard(event_id)
            self._forget(event_id)

    def drop_sessions(self, user: str) -> None:
        """Forget the user's sessions with their messages."""
        for session in [session for session, owner in self._owners.items() if owner == user]:
            self._drop_session(session)

    def sweep(self, now: float, unfinished: Container[str]) -> None:
        """Forget delivered answers, answers that nobody fetched in time, and sessions without events.

        Args:
            now: time (monotonic).
            unfinished: ids of the events that wait or run.
        """
        for event_id, ticket in list(self._tickets.items()):
            if self._is_delivered(event_id, ticket):
                self._forget(event_id)
            elif event_id not in unfinished:
                if ticket.finished_at is None:
                    ticket.finished_at = now
                if now - ticket.finished_at > ANSWER_SECONDS:
                    self.drop(event_id)
        for session in list(self._owners):
            if self._pending.get(session):
                self._idle_since.pop(session, None)
            elif now - self._idle_since.setdefault(session, now) > IDLE_SECONDS:
                self._drop_session(session)

    def _is_delivered(self, event_id: str, ticket: Ticket) -> bool:
        return event_id not in self._pending.get(ticket.session, ())

    def _forget(self, event_id: str) -> None:
        ticket = self._tickets.pop(event_id, None)
        if ticket is None:
            return
        events = self._of_user[ticket.user]
        events.discard(event_id)
        if not events:
            del self._of_user[ticket.user]

    def _drop_session(self, session: str) -> None:
        self._messages.pop(session, None)
        self._pending.pop(session, None)
        self._idle_since.pop(session, None)
        self._owners.pop(session, None)
