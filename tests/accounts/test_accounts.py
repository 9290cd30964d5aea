import asyncio
import io
import json
import logging
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from argon2 import PasswordHasher, extract_parameters
from sqlalchemy import func, select

from imgcap.accounts.accounts import Accounts
from imgcap.accounts.database import open_database
from imgcap.accounts.history import History, Origin, make_thumbnail
from imgcap.accounts.sessions import SessionStore
from imgcap.accounts.tables import HistoryEntry, User, UserSession
from imgcap.accounts.users import get_user
from imgcap.errors import InputError
from imgcap.reading import Reading
from imgcap.settings import Settings

PASSWORD = "four blue ducks sing"
READING = Reading("https://example.org/secret.jpg", True, None, 250.5, 100.0, "A dog runs on grass.", 0.7)


@pytest.fixture
def verifications(monkeypatch):
    """A list that gets an item for each Argon2 verification."""
    made = []
    true_verify = PasswordHasher.verify

    def counted(self, password_hash, password):
        made.append(extract_parameters(password_hash))
        return true_verify(self, password_hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    return made


def stored_hash(database, name):
    with database.session(read_only=True) as session:
        return get_user(session, name).password_hash


def count(database, table):
    with database.session(read_only=True) as session:
        return session.scalar(select(func.count()).select_from(table))


def test_whoever_registers_can_sign_in_in_any_case(accounts):
    user = accounts.register("Ann", PASSWORD)
    assert user.name == "ann"
    for name in ("ann", "ANN", " aNN "):
        assert accounts.verify(name, PASSWORD).id == user.id


def test_another_password_signs_nobody_in(accounts):
    accounts.register("ann", PASSWORD)
    near = [PASSWORD.upper(), PASSWORD + " ", PASSWORD[:-1], PASSWORD + "\x00"]
    for password in ["", *near, "x" * 10_000_000, "\ud800"]:
        assert accounts.verify("ann", password) is None, password[:50]


def test_a_password_is_the_same_from_every_keyboard(accounts):
    accounts.register("ann", "caf\N{LATIN SMALL LETTER E WITH ACUTE} au lait, deux fois")
    assert accounts.verify("ann", "cafe\N{COMBINING ACUTE ACCENT} au lait, deux fois")


def test_an_unknown_user_and_a_wrong_password_cost_the_same(accounts, verifications):
    accounts.register("ann", PASSWORD)
    cost = {}
    for name, password in (
        ("ann", PASSWORD),
        ("ann", "wrong"),
        ("nobody", PASSWORD),
        ("not a name", PASSWORD),
        ("\x00", "\ud800"),
        ("ann", "x" * 5000),
        ("x" * 5000, ""),
    ):
        verifications.clear()
        assert (accounts.verify(name, password) is not None) == ((name, password) == ("ann", PASSWORD))
        cost[name, password] = list(verifications)
    assert all(len(made) == 1 for made in cost.values())
    assert len({str(made[0]) for made in cost.values()}) == 1, "the decoy has the parameters of a true hash"


def test_a_hash_of_older_parameters_is_renewed_at_sign_in(accounts, database):
    user = accounts.register("ann", PASSWORD)
    with database.session() as session:
        session.get(User, user.id).password_hash = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(
            PASSWORD
        )
    old = stored_hash(database, "ann")
    assert accounts.verify("ann", "wrong") is None
    assert stored_hash(database, "ann") == old
    assert accounts.verify("ann", PASSWORD)
    renewed = stored_hash(database, "ann")
    assert extract_parameters(renewed).memory_cost == 19 * 1024
    assert accounts.verify("ann", PASSWORD)
    assert stored_hash(database, "ann") == renewed


def test_renewing_a_hash_does_not_undo_a_password_change_that_came_between(accounts, database, monkeypatch):
    user = accounts.register("ann", PASSWORD)
    with database.session() as session:
        session.get(User, user.id).password_hash = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(
            PASSWORD
        )
    true_check = PasswordHasher.check_needs_rehash
    reset = []

    def reset_meanwhile(self, password_hash):
        if not reset:
            reset.append(accounts.reset_password("ann"))
        return true_check(self, password_hash)

    monkeypatch.setattr(PasswordHasher, "check_needs_rehash", reset_meanwhile)
    accounts.verify("ann", PASSWORD)
    assert accounts.verify("ann", reset[0])
    assert accounts.verify("ann", PASSWORD) is None


def test_a_name_is_taken_in_whatever_case(accounts, database):
    accounts.register("ann", PASSWORD)
    with pytest.raises(InputError, match=r"^That name is taken; choose another\.$"):
        accounts.register("ANN", PASSWORD + "!")
    assert count(database, User) == 1
    assert accounts.verify("ann", PASSWORD)


def test_two_hundred_registrations_of_one_name_at_once_leave_one_account(accounts, database, monkeypatch):
    """All pass the first look before any is stored, so that the database itself must decide.

    On a busy machine a few wait too long for the database, and are refused for that reason.
    """
    monkeypatch.setattr(PasswordHasher, "hash", lambda self, password: f"hash of {password}")
    monkeypatch.setattr("imgcap.accounts.accounts.find_user", lambda session, name: None)
    barrier = threading.Barrier(200)

    def register(i):
        barrier.wait(60)
        try:
            return accounts.register("Ann" if i % 2 else "aNN", f"{PASSWORD} {i}")
        except InputError as refusal:
            return str(refusal)

    with ThreadPoolExecutor(200) as pool:
        outcomes = list(pool.map(register, range(200)))
    made = [outcome for outcome in outcomes if isinstance(outcome, User)]
    refusals = {outcome for outcome in outcomes if not isinstance(outcome, User)}
    assert len(made) == 1
    assert "That name is taken; choose another." in refusals
    assert refusals <= {
        "That name is taken; choose another.",
        "The server cannot reach its storage just now; try again in a minute.",
    }
    assert [user.id for user in accounts.list()] == [made[0].id]


async def test_many_registrations_off_the_event_loop_leave_one_account(accounts):
    outcomes = await asyncio.gather(
        *(accounts.aregister("ann", f"{PASSWORD} {i}") for i in range(40)), return_exceptions=True
    )
    winners = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, User)]
    assert len(winners) == 1
    assert {str(o) for i, o in enumerate(outcomes) if i not in winners} == {"That name is taken; choose another."}
    assert await accounts.averify("ann", f"{PASSWORD} {winners[0]}")
    assert len(accounts.list()) == 1


async def test_the_event_loop_runs_on_while_a_password_is_hashed(accounts, monkeypatch):
    accounts.register("ann", PASSWORD)
    loop_went_on = threading.Event()
    true_verify = PasswordHasher.verify

    def wait_for_the_loop(self, *args):
        assert loop_went_on.wait(60), "the hash held the event loop"
        return true_verify(self, *args)

    monkeypatch.setattr(PasswordHasher, "verify", wait_for_the_loop)
    signing_in = asyncio.create_task(accounts.averify("ann", PASSWORD))
    await asyncio.sleep(0)
    loop_went_on.set()
    assert (await signing_in).name == "ann"


async def test_sign_ins_that_wait_for_a_hash_hold_no_other_thread(accounts, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(PasswordHasher, "verify", lambda self, *args: release.wait(60) and False)
    waiting = [asyncio.create_task(accounts.averify("ann", "x")) for _ in range(100)]
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "served"), 60) == "served"
    release.set()
    assert await asyncio.gather(*waiting) == [None] * 100


def test_registration_can_be_closed(database):
    closed = Accounts(database, Settings(open_registration=False))
    with pytest.raises(InputError, match="Registration is closed"):
        closed.register("ann", PASSWORD)
    assert closed.create("ann", PASSWORD).name == "ann"
    closed.close()


def test_closing_registration_is_a_setting(monkeypatch):
    monkeypatch.setenv("IMGCAP_OPEN_REGISTRATION", "0")
    assert Settings().open_registration is False


def test_a_broken_rule_makes_no_account(accounts, database):
    for name, password, sentence in [
        ("a b", PASSWORD, "The name must be"),
        ("ann", "too short", "at least 15 characters"),
        ("ann", "passwordpassword", "common or easily guessed"),
        ("ann", "x" * 1025, "longer than 1024 bytes"),
    ]:
        with pytest.raises(InputError, match=sentence):
            accounts.register(name, password)
    assert count(database, User) == 0


def test_changing_a_password(accounts):
    accounts.register("ann", PASSWORD)
    accounts.change_password(accounts.get("Ann"), PASSWORD, "five green geese hum")
    assert accounts.verify("ann", PASSWORD) is None
    assert accounts.verify("ann", "five green geese hum")


def test_a_password_change_that_is_refused_changes_nothing(accounts):
    accounts.register("ann", PASSWORD)
    with pytest.raises(InputError, match="current password is wrong"):
        accounts.change_password(accounts.get("ann"), "wrong", "five green geese hum")
    with pytest.raises(InputError, match="at least 15 characters"):
        accounts.change_password(accounts.get("ann"), PASSWORD, "short")
    assert accounts.verify("ann", PASSWORD)


def test_a_reset_gives_a_password_that_works_and_ends_the_old_one(accounts):
    accounts.register("ann", PASSWORD)
    password = accounts.reset_password("ANN")
    assert accounts.verify("ann", PASSWORD) is None
    assert accounts.verify("ann", password)


def test_what_is_asked_of_nobody_is_refused(accounts):
    for ask in (accounts.get, accounts.reset_password):
        with pytest.raises(InputError, match="no account of that name"):
            ask("nobody")
    with pytest.raises(InputError, match="no such account"):
        accounts.delete(7)
    assert accounts.name_of(7) is None


def test_deleting_an_account_deletes_everything_of_it_and_nothing_else(accounts, database, db_settings):
    sessions, history = SessionStore(database, db_settings), History(database, db_settings)
    for name in ("ann", "ben"):
        user = accounts.register(name, PASSWORD)
        sessions[f"token of {name}"] = name
        history.add(user.id, READING, b"jpeg")
    accounts.delete(accounts.get("Ann").id)
    assert accounts.verify("ann", PASSWORD) is None
    assert [user.name for user in accounts.list()] == ["ben"]
    assert (count(database, UserSession), count(database, HistoryEntry)) == (1, 1)
    assert sessions["token of ben"] == str(user.id)
    assert history.count(user.id) == 1


def test_a_deleted_accounts_bytes_are_gone_from_the_sqlite_files(tmp_path):
    settings = Settings(data_dir=tmp_path / "data", database_url="")
    database = open_database(settings)
    accounts, history = Accounts(database, settings), History(database, settings)
    user = accounts.register("ann-of-green-gables", PASSWORD)
    history.add(user.id, READING, b"the-thumbnail-itself" * 1000)
    accounts.delete(user.id)
    accounts.close()
    database.close()
    left = b"".join(file.read_bytes() for file in (tmp_path / "data").iterdir())
    for secret in (b"ann-of-green-gables", b"the-thumbnail-itself", b"A dog runs on grass.", b"$argon2id"):
        assert secret not in left


def test_an_export_holds_all_that_is_the_users_and_no_secret(accounts, database, db_settings):
    sessions, history = SessionStore(database, db_settings), History(database, db_settings)
    for name in ("ann", "ben"):
        accounts.register(name, PASSWORD)
    sessions["the-token"] = "ann"
    jpeg = make_thumbnail(np.full((300, 400, 3), 200, np.uint8))
    entry = history.add(accounts.get("ann").id, READING, jpeg, Origin("link"))
    history.add(accounts.get("ben").id, READING, b"ben's")

    with zipfile.ZipFile(io.BytesIO(accounts.export(accounts.get("Ann")))) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["account.json", "history.csv", f"thumbnails/{entry}.jpg"]
        account = json.loads(archive.read("account.json"))
        table = archive.read("history.csv").decode()
        assert archive.read(f"thumbnails/{entry}.jpg") == jpeg
        everything = b"".join(archive.read(name) for name in archive.namelist())
    assert account["name"] == "ann"
    assert account["created_at"] == accounts.get("ann").created_at.isoformat()
    assert len(account["sessions"]) == 1
    assert table == history.to_csv(accounts.get("ann").id)
    for secret in (stored_hash(database, "ann"), "the-token", "example.org"):
        assert secret.encode() not in everything


def test_logs_hold_no_password_link_caption_or_token(accounts, database, db_settings, caplog):
    caplog.set_level(logging.DEBUG)
    sessions, history = SessionStore(database, db_settings), History(database, db_settings)
    accounts.register("ann", PASSWORD)
    for refused in (
        lambda: accounts.register("ANN", PASSWORD + " again"),
        lambda: accounts.register("ben", "short secret"),
        lambda: accounts.change_password(accounts.get("ann"), "wrong old secret", PASSWORD),
    ):
        with pytest.raises(InputError):
            refused()
    accounts.verify("ann", "wrong guess")
    sessions["token-a"] = "ann"
    entry = history.add(accounts.get("ann").id, READING, b"thumbnail-bytes", Origin("link"))
    history.search(accounts.get("ann").id, "searched words")
    history.to_csv(accounts.get("ann").id)
    accounts.export(accounts.get("ann"))
    history.delete(accounts.get("ann").id, entry)
    accounts.change_password(accounts.get("ann"), PASSWORD, "five green geese hum", "token-a")
    generated = accounts.reset_password("ann")
    accounts.delete(accounts.get("ann").id)

    assert "account" in caplog.text, "something is logged"
    for secret in (
        PASSWORD, "short secret", "wrong", "geese", generated, "$argon2", "token-a", "example.org", "secret.jpg",
        "dog", "thumbnail-bytes", "searched",
    ):  # fmt: skip
        assert secret not in caplog.text
