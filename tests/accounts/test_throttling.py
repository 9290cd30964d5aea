import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits.errors import StorageError
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from imgcap.accounts.throttling import Throttle, Throttled
from imgcap.errors import InputError
from imgcap.settings import Settings


@pytest.fixture
def clock(monkeypatch):
    """A clock that only `clock.pass_(seconds)` moves."""

    class Clock:
        now = 1_800_000_000.0

        def pass_(self, seconds):
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(time, "time", lambda: clock.now)
    return clock


def accepted(throttle, tries, kind="sign_in", account=None, address=None, n=1):
    """Return how many of `tries` tries are let through."""
    count = 0
    for _ in range(tries):
        try:
            throttle.hit(kind, account=account, address=address, n=n)
        except Throttled:
            continue
        count += 1
    return count


def test_a_hundred_passwords_from_one_address_stop_at_the_limit(clock):
    throttle = Throttle(Settings())
    tried = sum(accepted(throttle, 1, account=f"user{i}", address="203.0.113.5") for i in range(100))
    assert tried == 20


def test_a_hundred_passwords_for_one_account_stop_at_the_limit_from_wherever(clock):
    throttle = Throttle(Settings())
    tried = sum(accepted(throttle, 1, account="ann", address=f"203.0.113.{i}") for i in range(100))
    assert tried == 10


def test_every_spelling_of_a_name_is_one_account(clock):
    throttle = Throttle(Settings(sign_in_per_account="2/minute"))
    assert sum(accepted(throttle, 1, account=name) for name in ("ann", "ANN", " Ann ", "aNN")) == 2


def test_the_kinds_are_counted_apart(clock):
    throttle = Throttle(Settings(sign_in_per_address="1/minute", registrations_per_address="2/minute"))
    assert accepted(throttle, 5, "sign_in", address="203.0.113.5") == 1
    assert accepted(throttle, 5, "registration", address="203.0.113.5") == 2
    assert accepted(throttle, 5, "caption", account="ann", address="203.0.113.5") == 5


def test_accounts_and_addresses_are_counted_apart(clock):
    throttle = Throttle(Settings(sign_in_per_account="1/minute", sign_in_per_address="100/minute"))
    assert accepted(throttle, 3, account="ann", address="203.0.113.5") == 1
    assert accepted(throttle, 3, account="ben", address="203.0.113.5") == 1


def test_a_refusal_says_when_to_come_back_and_then_it_is_so(clock):
    throttle = Throttle(Settings(sign_in_per_account="2/minute", sign_in_per_address="9/minute"))
    throttle.hit("sign_in", account="ann", address=None)
    clock.pass_(20)
    throttle.hit("sign_in", account="ann", address=None)
    with pytest.raises(Throttled, match=r"^Too many tries to sign in; try again in 40 seconds\.$") as refusal:
        throttle.hit("sign_in", account="ann", address=None)
    assert refusal.value.retry_after == 40
    assert isinstance(refusal.value, InputError)
    clock.pass_(39)
    assert accepted(throttle, 1, account="ann") == 0
    clock.pass_(1.01)
    assert accepted(throttle, 2, account="ann") == 1


def test_several_limits_hold_together(clock):
    throttle = Throttle(Settings(captions_per_account="2/minute; 3/hour"))
    assert accepted(throttle, 5, "caption", account="ann") == 2
    clock.pass_(61)
    assert accepted(throttle, 5, "caption", account="ann") == 1
    with pytest.raises(Throttled, match="59 minutes") as refusal:
        throttle.hit("caption", account="ann", address=None)
    assert refusal.value.retry_after == 3600 - 61


def test_what_is_refused_is_not_counted(clock):
    throttle = Throttle(Settings(sign_in_per_account="1/minute", sign_in_per_address="2/minute"))
    assert accepted(throttle, 50, account="ann", address="203.0.113.5") == 1
    assert accepted(throttle, 1, account="ben", address="203.0.113.5") == 1


def test_checking_counts_nothing_and_refuses_alike(clock):
    throttle = Throttle(Settings(captions_per_account="1/minute"))
    for _ in range(5):
        throttle.check("caption", account="ann", address=None)
    throttle.hit("caption", account="ann", address=None)
    for count in (throttle.check, throttle.hit):
        with pytest.raises(Throttled, match="60 seconds"):
            count("caption", account="ann", address=None)


def test_a_batch_spends_the_same_allowance(clock):
    throttle = Throttle(Settings(captions_per_account="10/hour"))
    throttle.hit("caption", account="ann", address=None, n=7)
    assert accepted(throttle, 1, "caption", account="ann", n=4) == 0
    assert accepted(throttle, 5, "caption", account="ann") == 3


def test_a_batch_over_the_whole_allowance_is_told_so(clock):
    throttle = Throttle(Settings(captions_per_account="10/hour"))
    with pytest.raises(Throttled, match=r"^11 at once are too many; at most 10 are allowed\.$"):
        throttle.hit("caption", account="ann", address=None, n=11)
    assert accepted(throttle, 1, "caption", account="ann", n=10) == 1


def test_an_ipv6_address_counts_by_its_64(clock):
    throttle = Throttle(Settings(sign_in_per_address="3/minute"))
    assert sum(accepted(throttle, 1, address=f"2001:db8:1:2::{i:x}") for i in range(1, 50)) == 3
    assert accepted(throttle, 1, address="2001:db8:1:3::1") == 1


def test_an_ipv4_address_within_ipv6_is_the_same_address(clock):
    throttle = Throttle(Settings(sign_in_per_address="1/minute"))
    assert accepted(throttle, 1, address="203.0.113.5") == 1
    assert accepted(throttle, 1, address="::ffff:203.0.113.5") == 0
    assert accepted(throttle, 1, address="::ffff:203.0.113.6") == 1


@given(st.text(), st.text())
def test_whatever_is_given_as_name_or_address_is_counted(account, address):
    throttle = Throttle(Settings(sign_in_per_account="2/hour", sign_in_per_address="2/hour"))
    assert accepted(throttle, 4, account=account) == 2
    assert accepted(throttle, 4, address=address) == 2


def test_names_that_nobody_can_have_share_one_count(clock):
    throttle = Throttle(Settings(sign_in_per_account="2/minute"))
    assert sum(accepted(throttle, 1, account="?" * i) for i in range(50)) == 2


def test_threads_together_get_no_more_than_the_limit_and_spend_no_more(monkeypatch):
    true_test = MovingWindowRateLimiter.test

    def leisurely_test(self, *args, **kwargs):
        result = true_test(self, *args, **kwargs)
        threading.Event().wait(0.02)  # the others look too, before this one counts
        return result

    monkeypatch.setattr(MovingWindowRateLimiter, "test", leisurely_test)
    throttle = Throttle(Settings(captions_per_account="1/hour", captions_per_address="10/hour"))
    with ThreadPoolExecutor(8) as pool:
        tries = pool.map(lambda _: accepted(throttle, 1, "caption", account="ann", address="203.0.113.5"), range(8))
        assert sum(tries) == 1
    assert sum(accepted(throttle, 1, "caption", account=f"user{i}", address="203.0.113.5") for i in range(20)) == 9


def test_addresses_are_forgotten_once_they_have_run_out(clock, monkeypatch):
    storage = MemoryStorage()
    monkeypatch.setattr("imgcap.accounts.throttling.storage_from_string", lambda *_args, **_kwargs: storage)
    throttle = Throttle(Settings(sign_in_per_address="5/minute"))
    for i in range(1, 255):
        throttle.hit("sign_in", account=None, address=f"203.0.113.{i}")
    assert "203.0.113.254" in repr(vars(storage))
    for _ in range(200):  # the library empties what has run out in a thread of its own, a moment after a hit
        clock.pass_(61)
        throttle.hit("sign_in", account=None, address="198.51.100.1")
        if "203.0.113" not in repr(vars(storage)):
            break
        threading.Event().wait(0.05)
    assert "203.0.113" not in repr(vars(storage))


def test_a_storage_that_fails_lets_nobody_through(monkeypatch):
    throttle = Throttle(Settings())

    def fail(*_args, **_kwargs):
        raise StorageError(ConnectionError("redis://:secret@cache"))

    monkeypatch.setattr(MemoryStorage, "get_moving_window", fail)
    with pytest.raises(Throttled, match=r"^The server cannot count requests just now; try again in a minute\.$"):
        throttle.hit("sign_in", account="ann", address=None)


@pytest.mark.parametrize("storage", ["nonsense", "nosuch://x", "redis://127.0.0.1:9"])
def test_a_storage_that_cannot_be_used_is_said_at_the_start(storage):
    with pytest.raises(InputError, match="IMGCAP_THROTTLE_STORAGE"):
        Throttle(Settings(throttle_storage=storage))


@pytest.mark.parametrize("limit", ["", "often", "10", "10/fortnight", "-1/minute"])
def test_a_limit_that_cannot_be_read_is_said_at_the_start(limit):
    with pytest.raises(InputError, match="cannot be read"):
        Throttle(Settings(sign_in_per_account=limit))
