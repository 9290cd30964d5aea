import os
import sys
import threading
import time
from concurrent.futures import CancelledError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgcap.errors import InputError
from imgcap.inference.batching import BatchQueue, BusyError
from imgcap.inference.threads import NICE


class Worker:
    """A worker that records its batches, and waits until the test lets it go on."""

    def __init__(self, **options):
        self.batches, self.begun, self.go_on = [], threading.Semaphore(0), threading.Semaphore(0)
        self.queue = BatchQueue(self.run, **options)

    def run(self, batch):
        self.batches.append(list(batch))
        self.begun.release()
        self.go_on.acquire()
        if "bad" in batch:
            raise InputError("No such picture.")

    def hold(self):
        """Give the worker something to do, and return once it has begun."""
        first = self.queue.submit("first", "somebody else")
        self.begun.acquire()
        return first

    def finish(self):
        for _ in range(1000):
            self.go_on.release()


@pytest.fixture
def worker():
    worker = Worker(capacity=40, max_batch=16)
    yield worker
    worker.finish()
    worker.queue.close()


def test_a_lone_piece_is_begun_at_once_and_what_waits_meanwhile_goes_together(worker):
    worker.hold()
    futures = [worker.queue.submit(number) for number in range(20)]
    worker.finish()
    for future in futures:
        future.result(10)
    assert worker.batches == [["first"], list(range(16)), list(range(16, 20))]


def test_users_take_turns(worker):
    worker.hold()
    futures = [worker.queue.submit(("greedy", number), "greedy") for number in range(30)]
    futures += [worker.queue.submit((name, 0), name) for name in ("one", "two")]
    futures.append(worker.queue.submit(("one", 1), "one"))
    worker.finish()
    for future in futures:
        future.result(10)
    assert worker.batches[1][:5] == [("greedy", 0), ("one", 0), ("two", 0), ("greedy", 1), ("one", 1)]
    assert [len(batch) for batch in worker.batches] == [1, 16, 16, 1]


def test_one_user_never_has_all_workers(worker):
    worker.queue.workers = 2
    first = worker.queue.submit(("greedy", 0), "greedy")
    worker.begun.acquire()
    second = worker.queue.submit(("greedy", 1), "greedy")
    other = worker.queue.submit(("one", 0), "one")
    worker.begun.acquire()  # at once, although "greedy" came before
    assert worker.batches == [[("greedy", 0)], [("one", 0)]]
    assert not second.running()
    worker.finish()
    for future in (first, second, other):
        future.result(10)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 4), max_size=40), st.integers(1, 7))
def test_nobody_waits_for_more_than_one_piece_of_each_other_user(users, size):
    worker = Worker(max_batch=size)
    worker.hold()
    futures = [worker.queue.submit((user, place), user) for place, user in enumerate(users)]
    worker.finish()
    for future in futures:
        future.result(10)
    worker.queue.close()
    order = [piece for batch in worker.batches[1:] for piece in batch]
    assert sorted(order, key=lambda piece: piece[1]) == list(zip(users, range(len(users)), strict=True))
    served = dict.fromkeys(users, 0)
    left = {user: users.count(user) for user in users}
    for user, _ in order:
        served[user] += 1
        assert all(served[user] <= served[other] + 1 or served[other] == left[other] for other in served)
    for user in served:  # each user's own order is kept
        own = [place for name, place in order if name == user]
        assert own == sorted(own)


def test_a_full_queue_answers_at_once_and_a_caller_who_leaves_makes_room(worker):
    worker.hold()
    futures = [worker.queue.submit(number) for number in range(40)]
    with pytest.raises(BusyError, match="busy: try again in 5 seconds") as error:
        worker.queue.submit("one more")
    assert error.value.retry_after == 5
    assert futures[7].cancel()
    last = worker.queue.submit("one more")
    worker.finish()
    last.result(10)
    done = [piece for batch in worker.batches for piece in batch]
    assert 7 not in done
    assert "one more" in done


def test_what_runs_cannot_be_taken_out(worker):
    first = worker.hold()
    assert not first.cancel()


def test_a_failed_batch_is_told_to_its_callers_and_the_next_one_runs(worker):
    worker.finish()
    with pytest.raises(InputError, match="No such picture"):
        worker.queue.submit("bad").result(10)
    worker.queue.submit("good").result(10)


def test_closing_finishes_what_runs_and_gives_up_what_waits(worker):
    first = worker.hold()
    waiting = worker.queue.submit("waiting")
    worker.finish()
    worker.queue.close()
    first.result(10)
    if not waiting.done() or waiting.cancelled():
        with pytest.raises(CancelledError):
            waiting.result(10)
    with pytest.raises(RuntimeError, match="closed"):
        worker.queue.submit("late")


def test_as_many_batches_run_side_by_side_as_there_are_workers():
    together, running = threading.Barrier(3), []

    def run(batch):
        together.wait(10)  # or it breaks, and the batch fails
        running.append((batch, queue.running))
        together.wait(10)

    queue = BatchQueue(run, max_batch=1)
    queue.workers = 3
    for future in [queue.submit(number) for number in range(6)]:
        future.result(10)
    queue.close()
    assert sorted(piece for batch, _ in running for piece in batch) == list(range(6))
    assert {count for _, count in running} == {3}
    assert queue.running == 0


@pytest.mark.parametrize(("users", "sizes"), [("abcdef", [3, 3]), ("aaaaaa", [6]), ("ab", [1, 1])])
def test_workers_that_are_free_share_the_work(users, sizes):
    """A worker that one user may not have counts for nothing."""
    batches, together = [], threading.Barrier(len(sizes))

    def run(batch):
        batches.append(len(batch))
        together.wait(10)  # or the batch fails

    queue = BatchQueue(run)
    queue.workers = 2
    with queue._changed:  # so that all work waits before a worker looks
        futures = [queue.submit(place, user) for place, user in enumerate(users)]
    for future in futures:
        future.result(10)
    queue.close()
    assert batches == sizes


@pytest.mark.skipif(sys.platform != "linux", reason="only there a thread has a niceness of its own")
def test_pages_go_before_captions():
    found = []
    queue = BatchQueue(lambda _: found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id())))
    queue.submit("one").result(10)
    queue.close()
    assert found == [min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICE)]


def test_a_batch_is_as_large_as_it_may_be_at_the_time():
    sizes, go = [], threading.Event()

    def run(batch):
        go.wait(10)
        sizes.append(len(batch))

    queue = BatchQueue(run)
    first = queue.submit(0)
    while not first.running():
        time.sleep(0.001)
    rest = [queue.submit(number) for number in range(6)]
    queue.max_batch = 4
    go.set()
    for future in rest:
        future.result(10)
    queue.close()
    assert sizes == [1, 4, 2]
