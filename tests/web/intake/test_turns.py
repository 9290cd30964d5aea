"""Places that users share."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from imgcap.web.intake.turns import Turns


def test_one_user_never_has_all_places():
    turns, running, most = Turns(total=3, per_user=2), [], []
    lock, go = threading.Lock(), threading.Event()

    def work(user):
        with turns.turn(user):
            with lock:
                running.append(user)
                most.append((len(running), running.count(user)))
            go.wait(30)
            with lock:
                running.remove(user)

    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(work, "ada") for _ in range(8)]
        while len(running) < 2:
            time.sleep(0.01)
        asked.append(pool.submit(work, "bob"))
        while "bob" not in running:
            time.sleep(0.01)  # a place is left for him, although six of ada's wait
        go.set()
        for future in asked:
            future.result(30)
    assert max(total for total, _ in most) == 3
    assert max(own for _, own in most) == 2
    assert not turns._taken


def test_unhurried_work_leaves_a_place_to_other_work_and_waits_in_turn():
    turns, begun, ends = Turns(total=2, per_user=1), [], {user: threading.Event() for user in range(5)}

    def work(user, unhurried):
        with turns.turn(user, unhurried=unhurried):
            begun.append(user)
            ends[user].wait(30)

    def expect(*users):
        while len(begun) < len(users):
            time.sleep(0.01)
        assert tuple(begun) == users

    with ThreadPoolExecutor(5) as pool:
        asked = []
        for user, unhurried in enumerate((True, True, True, False, False)):
            asked.append(pool.submit(work, user, unhurried))
            while len(begun) + len(turns._waiting) < len(asked):
                time.sleep(0.01)
        expect(0, 3)  # 1 and 2 may not have the second place, and 4 finds none
        ends[3].set()
        expect(0, 3, 4)
        ends[0].set()
        expect(0, 3, 4, 1)
        for end in ends.values():
            end.set()
        for future in asked:
            future.result(30)
    assert begun[-1] == 2
    assert (turns._free, turns._free_to_unhurried) == (2, 1)


def test_a_place_is_given_back_when_the_work_fails():
    turns = Turns(total=1, per_user=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), turns.turn(1):
            raise ZeroDivisionError
