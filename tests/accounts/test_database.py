import contextlib
import multiprocessing
import sqlite3
import stat
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, func, inspect, select, text
from sqlalchemy.exc import IntegrityError, StatementError

from imgcap.accounts.accounts import Accounts
from imgcap.accounts.backup import back_up
from imgcap.accounts.database import (
    SPARE_CONNECTIONS,
    DatabaseUnavailable,
    database_url,
    journal_mode,
    migration_config,
    open_database,
)
from imgcap.accounts.history import History
from imgcap.accounts.sessions import SessionStore
from imgcap.accounts.tables import Base, HistoryEntry, User, UserSession, utc_now
from imgcap.errors import InputError
from imgcap.reading import Reading
from imgcap.settings import Settings


def test_migrations_make_exactly_the_tables_of_the_models(database):
    with database.session(read_only=True) as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
        assert set(inspect(session.connection()).get_table_names()) == {*Base.metadata.tables, "alembic_version"}


def test_migrations_go_back_to_nothing(database):
    with database.session() as session:
        command.downgrade(migration_config(session.connection()), "base")
    assert inspect(database.engine).get_table_names() == ["alembic_version"]


def test_readings_of_the_first_version_come_through_the_migrations(db_settings):
    old = open_database(db_settings)
    with old.session() as session:
        command.downgrade(migration_config(session.connection()), "0001")
        session.execute(text("INSERT INTO users VALUES (1, 'ann', 'x', '2026-01-01 00:00:00')"))
        session.execute(
            text(
                "INSERT INTO history (user_id, created_at, source, variance, threshold, valid, caption, thumbnail) "
                "VALUES (1, '2026-01-01 00:00:00', 'link', 9, 5, :valid, 'A dog.', :jpeg)"
            ),
            {"valid": True, "jpeg": b"jpeg"},
        )
    old.close()
    new = open_database(db_settings)
    history = History(new, db_settings)
    (entry,) = history.search(1, "dog")
    assert (entry.caption, entry.edited_caption, entry.warning, entry.digest) == ("A dog.", None, None, None)
    assert history.edit(1, entry.id, "Rex.").shown_caption == "Rex."
    new.close()


def test_opening_again_keeps_what_is_there(database, db_settings):
    with database.session() as session:
        session.add(User(name="ann", password_hash="x"))
    again = open_database(db_settings)
    with again.session(read_only=True) as session:
        assert session.scalars(select(User.name)).all() == ["ann"]
    again.close()


def test_processes_that_start_at_once_all_open_the_same_new_database(db_settings):
    fork = multiprocessing.get_context("fork")  # begins at once: nothing is imported anew
    barrier = fork.Barrier(6)

    def start():
        barrier.wait(60)
        open_database(db_settings).close()

    processes = [fork.Process(target=start) for _ in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 6


def test_a_database_of_a_newer_version_is_refused(database, db_settings):
    with database.session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(InputError, match="newer imgcap"):
        open_database(db_settings)


def test_a_transaction_that_raises_leaves_nothing(database):
    def add_and_fail():
        with database.session() as session:
            session.add(User(name="ann", password_hash="x"))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        add_and_fail()
    with database.session(read_only=True) as session:
        assert session.scalar(select(func.count()).select_from(User)) == 0


def test_deleting_a_user_deletes_what_hangs_on_it(database):
    with database.session() as session:
        user = User(name="ann", password_hash="x")
        session.add(user)
        session.flush()
        now = datetime.now(UTC)
        session.add(UserSession(token_hash="h", user_id=user.id, created_at=now, last_used_at=now))
        entry = {"source": "link", "variance": 1.0, "threshold": 2.0, "valid": False, "thumbnail": b"j"}
        session.add(HistoryEntry(user_id=user.id, **entry))
    with database.session() as session:
        session.execute(text("DELETE FROM users"))
        assert session.scalar(select(func.count()).select_from(UserSession)) == 0
        assert session.scalar(select(func.count()).select_from(HistoryEntry)) == 0


def test_foreign_keys_hold(database):
    now = datetime.now(UTC)
    with pytest.raises(IntegrityError), database.session() as session:
        session.add(UserSession(token_hash="h", user_id=77, created_at=now, last_used_at=now))


def test_an_id_is_never_given_twice(database):
    with database.session() as session:
        first = User(name="ann", password_hash="x")
        session.add(first)
        session.flush()
        session.delete(first)
    with database.session() as session:
        second = User(name="ben", password_hash="x")
        session.add(second)
    assert second.id > first.id


def test_moments_come_back_in_utc(database):
    noon_in_delhi = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=5.5)))
    with database.session() as session:
        session.add(User(name="ann", password_hash="x", created_at=noon_in_delhi))
    with database.session(read_only=True) as session:
        stored = session.scalars(select(User)).one().created_at
    assert stored == noon_in_delhi
    assert stored.utcoffset() == timedelta(0)


def test_a_moment_without_a_zone_is_refused(database):
    with pytest.raises(StatementError, match="time zone"), database.session() as session:
        session.add(User(name="ann", password_hash="x", created_at=datetime(2026, 5, 1)))  # noqa: DTZ001


def test_errors_do_not_show_what_people_gave(database):
    with pytest.raises(IntegrityError) as failure, database.session() as session:
        session.add_all([User(name="ann", password_hash="x"), User(name="ann", password_hash="secret-hash")])
    assert "secret-hash" not in str(failure.value)


def test_sqlite_is_private_and_durable(tmp_path):
    database = open_database(Settings(data_dir=tmp_path / "data", database_url=""))
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "data").iterdir()} == {0o600}
    with database.session(read_only=True) as session:
        pragmas = {
            name: session.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout", "secure_delete")
        }
    assert pragmas == {
        "journal_mode": journal_mode().lower(), "foreign_keys": 1, "synchronous": 2, "busy_timeout": 4_000,
        "secure_delete": 1,
    }  # fmt: skip
    database.close()


def test_a_reader_does_not_wait_for_a_writer(database):
    with database.session() as writer:
        writer.add(User(name="ann", password_hash="x"))
        writer.flush()
        with database.session(read_only=True) as reader:
            assert reader.scalars(select(User)).all() == []


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_a_postgresql_url_uses_psycopg(scheme):
    url = database_url(Settings(database_url=f"{scheme}://ann:pass@db.example:5433/imgcap?sslmode=require"))
    assert url.drivername == "postgresql+psycopg"
    assert (url.host, url.port, url.database, url.query["sslmode"]) == ("db.example", 5433, "imgcap", "require")


@pytest.mark.parametrize(
    "url", ["mysql://u@h/d", "sqlite://", "sqlite:///:memory:", "nonsense", "postgresql://h:port/d"]
)
def test_a_database_url_of_another_kind_is_refused(url):
    with pytest.raises(InputError, match="IMGCAP_DATABASE_URL"):
        database_url(Settings(database_url=url))


def test_a_database_that_cannot_be_opened_is_said_in_a_sentence_without_the_password(tmp_path):
    (tmp_path / "imgcap.db").write_bytes(b"this is no database" * 100)
    for settings in (
        Settings(data_dir=tmp_path, database_url=""),
        Settings(database_url="postgresql://ann:hunter2@127.0.0.1:9/imgcap"),
    ):
        with pytest.raises(InputError, match=r"cannot be opened|is damaged") as refusal:
            open_database(settings)
        assert "hunter2" not in str(refusal.value)


def test_a_data_folder_that_cannot_be_made_is_said_in_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="IMGCAP_DATA_DIR"):
        open_database(Settings(data_dir=tmp_path / "file" / "data", database_url=""))


@pytest.mark.parametrize(
    ("version", "mode"),
    [
        ((3, 40, 1), "TRUNCATE"), ((3, 44, 5), "TRUNCATE"), ((3, 44, 6), "WAL"), ((3, 45, 0), "TRUNCATE"),
        ((3, 50, 6), "TRUNCATE"), ((3, 50, 7), "WAL"), ((3, 51, 2), "TRUNCATE"), ((3, 51, 3), "WAL"),
        ((3, 53, 0), "WAL"),
    ],
)  # fmt: skip
def test_versions_that_can_lose_pages_do_not_use_write_ahead_logging(version, mode):
    assert journal_mode(version) == mode


@pytest.mark.parametrize("damage", ["header", "middle"])
def test_a_damaged_database_is_said_in_a_sentence_that_names_the_cure(tmp_path, damage):
    settings = Settings(data_dir=tmp_path)
    database = open_database(settings)
    Accounts(database, settings).create("ann", "a long enough password")
    database.close()
    path = tmp_path / "imgcap.db"
    content = bytearray(path.read_bytes())
    start = 0 if damage == "header" else 100
    content[start : start + 4000] = b"\xff" * 4000
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{path} is damaged.*user backup"):
        open_database(settings)
    with pytest.raises(InputError, match=r"cannot be backed up|is damaged"):
        back_up(settings, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_a_backup_made_while_the_app_writes_opens_as_a_database(tmp_path):
    settings = Settings(data_dir=tmp_path / "data")
    database = open_database(settings)
    accounts = Accounts(database, settings)
    accounts.create("ann", "a long enough password")
    (tmp_path / "restored").mkdir()
    copy = tmp_path / "restored" / "imgcap.db"
    with database.session() as session:
        session.add(User(name="bob", password_hash="x"))
        session.flush()  # an open transaction: it is not in the copy
        back_up(settings, copy)
    assert copy.stat().st_mode & 0o777 == 0o600
    restored = Settings(data_dir=tmp_path / "restored")
    assert [user.name for user in Accounts(open_database(restored), restored).list()] == ["ann"]
    assert [user.name for user in accounts.list()] == ["ann", "bob"]
    with pytest.raises(InputError, match="already"):
        back_up(settings, copy)
    with pytest.raises(InputError, match="cannot be written"):
        back_up(settings, tmp_path / "nowhere" / "copy.db")
    with pytest.raises(InputError, match="pg_dump"):
        back_up(Settings(data_dir=tmp_path, database_url="postgresql://u:p@localhost/x"), tmp_path / "p.db")


def test_a_locked_database_is_said_in_a_sentence_and_signs_nobody_out(tmp_path):
    settings = Settings(data_dir=tmp_path, database_wait_seconds=0.2)
    database = open_database(settings)
    Accounts(database, settings).create("ann", "a long enough password")
    long_ago = SessionStore(database, settings, lambda: utc_now() - timedelta(days=1))
    long_ago["token"] = "ann"
    blocker = sqlite3.connect(tmp_path / "imgcap.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    sessions = SessionStore(database, settings)
    assert sessions.find("token").name == "ann"  # although its last use cannot be noted
    with pytest.raises(DatabaseUnavailable, match="try again in a minute"):
        sessions["another"] = "ann"
    blocker.rollback()
    sessions["another"] = "ann"
    assert len(sessions) == 2


def test_a_transaction_that_gets_no_connection_is_said_so_in_a_sentence(tmp_path):
    database = open_database(Settings(data_dir=tmp_path))
    most = SPARE_CONNECTIONS["sqlite"] + 5
    with contextlib.ExitStack() as stack:
        for _ in range(most):
            stack.enter_context(database.session(read_only=True)).connection()
        began = time.monotonic()
        with (
            pytest.raises(DatabaseUnavailable, match="try again in a minute"),
            database.session(read_only=True) as session,
        ):
            session.connection()
        assert time.monotonic() - began < 5
    with database.session(read_only=True) as session:
        assert session.scalar(text("SELECT 1")) == 1


def test_a_full_database_is_said_in_a_sentence_and_can_still_be_read(tmp_path, caplog):
    settings = Settings(data_dir=tmp_path)
    database = open_database(settings)
    user = Accounts(database, settings).create("ann", "a long enough password")
    history = History(database, settings)
    reading = Reading(None, True, None, 250.5, 100.0, "A dog runs.")
    history.add(user.id, reading, b"jpeg")

    @event.listens_for(database.engine, "begin")
    def full(connection):  # as a full disk answers: SQLITE_FULL at the first page too many
        connection.exec_driver_sql("PRAGMA max_page_count = 1")

    with pytest.raises(DatabaseUnavailable, match="storage"):
        history.add(user.id, reading, b"x" * 10**6)
    assert history.count(user.id) == 1
    assert "full" in caplog.text
    assert "A dog runs" not in caplog.text
