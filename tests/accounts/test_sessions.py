from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from gradio.routes import App
from sqlalchemy import select, text

from imgcap.accounts import sessions
from imgcap.accounts.database import open_database
from imgcap.accounts.sessions import KNOWN_FOR, SessionStore, TokenHash
from imgcap.accounts.tables import UserSession
from imgcap.errors import InputError
from imgcap.settings import Settings

PASSWORD = "four blue ducks sing"
ANN, BEN = 1, 2


class Clock:
    def __init__(self):
        self.now = datetime(2026, 5, 1, 12, tzinfo=UTC)

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(database, db_settings, accounts, clock):
    assert [accounts.create(name, PASSWORD).id for name in ("ann", "ben")] == [ANN, BEN]
    return SessionStore(database, db_settings, clock)


def test_it_maps_tokens_that_are_set_to_names_to_the_ids_of_their_accounts(store):
    store["token-a"] = "Ann"
    store["token-b"] = "ben"
    assert store["token-a"] == str(ANN)
    assert store.get("token-b") == str(BEN)
    assert (store.find("token-a").id, store.find("token-a").name) == (ANN, "ann")
    assert store.find("unknown") is None
    assert "token-a" in store
    assert len(store) == 2
    del store["token-a"]
    assert "token-a" not in store
    with pytest.raises(KeyError):
        del store["token-a"]


def test_a_token_of_no_session_is_nobody(store):
    store["token-a"] = "ann"
    for token in (None, "", "unknown", "\ud800", "x" * 100_000, "nul\x00", 7):
        assert store.get(token) is None
        assert token not in store


def test_it_stands_in_for_gradios_dictionary(store):
    """What gradio.routes does with `app.tokens`: sign in, look up without a cookie, sign out everywhere."""
    app = App()
    assert app.tokens == {}
    app.tokens = store
    for token in ("one", "two", "three"):
        app.tokens[token] = "ben" if token == "three" else "ann"
    assert app.tokens.get(None) is None
    for token in list(app.tokens.keys()):
        if app.tokens[token] == str(ANN):
            del app.tokens[token]
    assert [app.tokens.get(token) for token in ("one", "two", "three")] == [None, None, str(BEN)]


def test_the_database_never_holds_a_token(store, database):
    store["the-token-itself"] = "ann"
    with database.session(read_only=True) as session:
        stored = session.scalars(select(UserSession.token_hash)).one()
        dump = str(session.execute(text("SELECT * FROM sessions")).all())
    assert "the-token-itself" not in dump
    assert stored not in store, "a thief of the database must not sign in with what it holds"
    assert TokenHash(stored) in store


def test_sessions_survive_a_restart(store, database, db_settings, clock):
    store["token-a"] = "ann"
    database.close()
    reopened = open_database(db_settings)
    assert SessionStore(reopened, db_settings, clock)["token-a"] == str(ANN)
    reopened.close()


def test_a_session_ends_at_its_greatest_age_however_much_it_is_used(store, clock):
    store["token-a"] = "ann"
    for _ in range(29):
        clock.now += timedelta(days=1)
        assert "token-a" in store
    clock.now += timedelta(days=1)
    assert "token-a" not in store
    assert len(store) == 0
    assert list(store) == []


def test_a_session_that_is_not_used_ends_earlier(store, clock):
    store["used"] = store["idle"] = "ann"
    for _ in range(7):
        assert "used" in store
        clock.now += timedelta(days=1)
    assert "used" in store
    assert "idle" not in store


def test_both_ends_are_settings(database, accounts, clock):
    accounts.create("ann", PASSWORD)
    store = SessionStore(database, Settings(session_days=1, session_idle_days=0.5), clock)
    store["token-a"] = "ann"
    clock.now += timedelta(hours=11, minutes=59)
    assert "token-a" in store
    clock.now += timedelta(hours=12, minutes=1)
    assert "token-a" not in store


def test_use_is_written_once_a_minute_at_most(store, database, clock):
    def last_used():
        with database.session(read_only=True) as session:
            return session.scalars(select(UserSession.last_used_at)).one()

    store["token-a"] = "ann"
    begun = clock.now
    clock.now += timedelta(seconds=59)
    assert "token-a" in store
    assert last_used() == begun
    clock.now += timedelta(seconds=1)
    assert "token-a" in store
    assert last_used() == clock.now


@pytest.fixture
def reads(database, monkeypatch):
    """The times at which the store reads, as a list."""
    found, session = [], database.session

    def noting(**options):
        if options.get("read_only"):
            found.append(1)
        return session(**options)

    monkeypatch.setattr(database, "session", noting)
    return found


def test_a_session_is_not_read_again_for_some_seconds(store, clock, reads):
    store["token-a"] = "ann"
    assert store.recall("token-a") is None
    for _ in range(3):
        assert store.find("token-a").id == ANN
    assert store.recall("token-a").id == ANN
    assert len(reads) == 1
    clock.now += KNOWN_FOR
    assert store.recall("token-a") is None
    assert store.find("token-a").id == ANN
    assert len(reads) == 2


def test_what_changes_no_account_lets_sessions_be_remembered(store, database, reads):
    store["token-a"] = "ann"
    store.find("token-a")
    with database.session(keeps_accounts=True):
        pass
    assert store.recall("token-a") is not None
    with database.session():
        pass
    assert store.recall("token-a") is None


def test_a_session_that_ends_while_it_is_read_is_not_remembered(store, database, monkeypatch):
    store["token-a"] = "ann"
    known = store.find("token-a")
    store.end("token-a")
    store["token-a"] = "ann"
    ending, session = [True], database.session

    @contextmanager
    def end_after_reading(**options):
        with session(**options) as found:
            yield found
        if ending and options.get("read_only"):
            ending.clear()
            store.end("token-a")

    monkeypatch.setattr(database, "session", end_after_reading)
    assert store.find("token-a").id == known.id
    assert store.recall("token-a") is None
    assert store.find("token-a") is None


def test_a_session_that_another_process_ends_is_forgotten_within_seconds(store, db_settings, clock):
    store["token-a"] = "ann"
    store.find("token-a")
    other = open_database(db_settings)
    SessionStore(other, db_settings, clock).end("token-a")
    other.close()
    clock.now += KNOWN_FOR
    assert store.find("token-a") is None


def test_only_so_many_sessions_are_remembered(store, monkeypatch):
    monkeypatch.setattr(sessions, "MOST_KNOWN", 2)
    for token in ("a1", "a2", "a3"):
        store[token] = "ann"
        store.find(token)
    assert len(store._known) <= 2


def test_a_sign_in_sweeps_away_what_has_run_out(store, database, clock):
    store["old"] = "ann"
    clock.now += timedelta(days=8)
    store["new"] = "ben"
    with database.session(read_only=True) as session:
        assert len(session.scalars(select(UserSession)).all()) == 1


def test_ending_all_of_a_users_sessions_leaves_those_of_others(store):
    for token in ("a1", "a2", "a3"):
        store[token] = "ann"
    store["b1"] = "ben"
    assert store.end_all(ANN) == 3
    assert [token for token in ("a1", "a2", "a3", "b1") if token in store] == ["b1"]
    assert store.end("b1")
    assert not store.end("b1")


def test_a_password_change_ends_the_other_sessions(store, accounts):
    store["mine"] = store["the thief's"] = "ann"
    store["ben's"] = "ben"
    accounts.change_password(accounts.get("ann"), PASSWORD, PASSWORD + "!", keep_session="mine")
    assert [token for token in ("mine", "the thief's", "ben's") if token in store] == ["mine", "ben's"]


def test_a_password_change_without_a_session_to_keep_ends_all(store, accounts):
    store["token-a"] = "ann"
    accounts.change_password(accounts.get("ann"), PASSWORD, PASSWORD + "!")
    assert len(store) == 0


def test_a_failed_password_change_ends_none(store, accounts):
    store["token-a"] = "ann"
    for old, new in (("wrong", PASSWORD + "!"), (PASSWORD, "short")):
        with pytest.raises(InputError):
            accounts.change_password(accounts.get("ann"), old, new)
    assert "token-a" in store


def test_a_reset_password_ends_all_sessions(store, accounts):
    store["token-a"] = "ann"
    accounts.reset_password("ann")
    assert "token-a" not in store


def test_a_deleted_accounts_sessions_end_and_stay_ended(store, accounts):
    store["token-a"] = "ann"
    accounts.delete(ANN)
    assert "token-a" not in store
    accounts.create("ann", PASSWORD)
    assert "token-a" not in store


def test_nobody_can_be_signed_in_without_an_account(store):
    with pytest.raises(InputError, match="no account"):
        store["token-a"] = "carol"
    assert "token-a" not in store
