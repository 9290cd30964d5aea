"""Who asked for each event and began each session, without Gradio's queue around it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgcap.web.gradio_parts.tickets import ANSWER_SECONDS, FRESH_SECONDS, IDLE_SECONDS, Tickets


class Queue:
    """The two tables of Gradio's queue that Tickets reads, and what the queue does to them."""

    def __init__(self) -> None:
        self.pending: dict[str, set[str]] = {}
        self.messages: dict[str, list[str]] = {}
        self.tickets = Tickets(self.pending, self.messages)

    def ask(self, event: str, user: str, session: str) -> None:
        self.pending.setdefault(session, set()).add(event)
        self.messages.setdefault(session, [])
        self.tickets.add(event, user, session)

    def deliver(self, event: str, session: str) -> None:
        self.pending.get(session, set()).discard(event)


@pytest.fixture
def queue() -> Queue:
    return Queue()


def test_an_event_and_its_session_belong_to_whoever_asked(queue):
    queue.ask("e1", "ada", "tab")
    assert (queue.tickets.may_read("ada", "e1"), queue.tickets.may_read("bob", "e1")) == (True, False)
    assert (queue.tickets.may_use("ada", "tab"), queue.tickets.may_use("bob", "tab")) == (True, False)
    assert queue.tickets.may_use("bob", "a new tab")
    assert not queue.tickets.may_read("ada", "never asked for")


def test_what_was_delivered_is_outstanding_no_more(queue):
    for event in ("e1", "e2"):
        queue.ask(event, "ada", "tab")
    queue.ask("e3", "bob", "other")
    queue.deliver("e1", "tab")
    assert len(queue.tickets) == 3  # it is noticed when they are counted
    assert (queue.tickets.count_outstanding("ada"), queue.tickets.count_outstanding("bob")) == (1, 1)
    assert queue.tickets.get("e1") is None
    assert queue.tickets.of_user("ada") == ["e2"]
    assert len(queue.tickets) == 2


def test_an_answer_waits_a_while_for_its_reader_and_an_unfinished_event_for_ever(queue):
    queue.ask("answered", "ada", "tab")
    queue.ask("running", "ada", "tab")
    queue.tickets.sweep(100.0, {"running"})
    queue.tickets.sweep(100.0 + ANSWER_SECONDS, {"running"})
    assert queue.tickets.count_outstanding("ada") == 2
    queue.tickets.sweep(101.0 + ANSWER_SECONDS, {"running"})
    assert queue.tickets.of_user("ada") == ["running"]
    assert queue.pending["tab"] == {"running"}
    queue.tickets.sweep(1e9, {"running"})
    assert queue.tickets.of_user("ada") == ["running"]


def test_a_session_outlasts_its_last_event_a_little(queue):
    queue.ask("e1", "ada", "tab")
    queue.deliver("e1", "tab")
    queue.tickets.sweep(100.0, ())
    queue.tickets.sweep(100.0 + IDLE_SECONDS, ())
    assert not queue.tickets.may_use("bob", "tab")
    queue.ask("e2", "ada", "tab")  # used again: its time begins anew
    queue.deliver("e2", "tab")
    queue.tickets.sweep(105.0 + IDLE_SECONDS, ())
    assert not queue.tickets.may_use("bob", "tab")
    queue.tickets.sweep(106.0 + 2 * IDLE_SECONDS, ())
    assert queue.tickets.may_use("bob", "tab")
    assert (queue.pending, queue.messages) == ({}, {})


def test_only_fresh_answers_and_unfinished_events_delay_a_shutdown(queue):
    assert not queue.tickets.have_fresh_answers()
    queue.ask("e1", "ada", "tab")
    assert queue.tickets.have_fresh_answers()
    queue.tickets.sweep(time.monotonic(), ())  # finished now
    assert queue.tickets.have_fresh_answers()
    queue.tickets.get("e1").finished_at -= FRESH_SECONDS + 1
    assert not queue.tickets.have_fresh_answers()
    queue.ask("e2", "ada", "tab")
    queue.deliver("e2", "tab")
    assert not queue.tickets.have_fresh_answers()


def test_a_deleted_user_leaves_no_messages_and_others_keep_theirs(queue):
    queue.ask("e1", "ada", "tab")
    queue.ask("e2", "bob", "other")
    for event in queue.tickets.of_user("ada"):
        queue.tickets.drop(event)
    queue.tickets.drop_sessions("ada")
    assert (queue.pending, queue.messages) == ({"other": {"e2"}}, {"other": []})
    assert queue.tickets.may_use("bob", "tab")


STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "deliver", "drop", "count", "sweep", "leave"]), st.integers(0, 5)), max_size=40
)


@given(STEPS)
def test_however_it_goes_nothing_is_left_in_the_end(steps):
    queue = Queue()
    now = 100.0
    for place, (step, number) in enumerate(steps):
        user, session = f"user{number % 3}", f"tab{number}"
        event = f"{session}-{place if step == 'ask' else number}"
        if step == "ask" and queue.tickets.may_use(user, session):
            queue.ask(event, user, session)
        elif step == "deliver":
            for own in list(queue.pending.get(session, ())):
                queue.deliver(own, session)
        elif step == "drop":
            for own in queue.tickets.of_user(user)[:1]:
                queue.tickets.drop(own)
        elif step == "count":
            unread = {own for ids in queue.pending.values() for own in ids}
            outstanding = unread & {*queue.tickets.of_user(user)}
            assert queue.tickets.count_outstanding(user) == len(outstanding)
        elif step == "leave":
            queue.tickets.drop_sessions(user)
        else:
            now += 60 * number
            queue.tickets.sweep(now, ())
    for wait in (0.0, ANSWER_SECONDS + 1, IDLE_SECONDS + 1, IDLE_SECONDS + 1):
        now += wait
        queue.tickets.sweep(now, ())
    assert len(queue.tickets) == 0
    assert (queue.pending, queue.messages) == ({}, {})
    assert all(queue.tickets.may_use("anyone", f"tab{number}") for number in range(6))
