"""Open the database and migrate its tables to the newest version.

SQLite in the data folder by default; PostgreSQL (psycopg 3) with `IMGCAP_DATABASE_URL`.
"""

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from imgcap.accounts.storage import DATA_FOLDER_UNWRITABLE, filesystem_of, is_remote
from imgcap.errors import InputError
from imgcap.settings import Settings

logger = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).with_name("migrations")
# Names the migrations among PostgreSQL's advisory locks; any constant works (this is "imgcap" in ASCII).
MIGRATION_LOCK = 0x696D67636170
STARTING_SECONDS = 30.0
"""Seconds that SQLite waits at the start for other processes that create or migrate the same database."""
POOL_SECONDS = 1.0
"""Seconds that a transaction waits for a connection, before it waits for a lock."""
SPARE_CONNECTIONS = {"sqlite": 35, "postgresql": 10}
"""Connections in addition to the five that stay open. SQLite has one for each of the 40 threads, so that threads that
wait for a lock keep no other from reading. PostgreSQL has few, since its clients share a small number."""


class DatabaseUnavailable(InputError):  # noqa: N818  named after HTTP's 503
    """The database could not be read or written: it is locked, read-only or gone, or its disk is full."""


class Database:
    """An open, migrated database. Safe to share between threads.

    Attributes:
        version: changes after each transaction of this process that may have changed an account or a sign-in, so that
            what was read of them before is no longer relied on.
    """

    def __init__(self, engine: Engine, wait_seconds: float) -> None:
        self.engine = engine
        self.version = object()
        self._wait_seconds = wait_seconds

    @contextmanager
    def session(
        self, *, read_only: bool = False, keeps_accounts: bool = False, wait_seconds: float | None = None
    ) -> Iterator[Session]:
        """Run one transaction: committed when the block ends, rolled back when it raises.

        Args:
            read_only: the transaction only reads, and on SQLite does not wait for another one that writes.
            keeps_accounts: the transaction writes, but changes no account and ends no sign-in.
            wait_seconds: seconds to wait for a lock on SQLite; by default `settings.database_wait_seconds`.

        Raises:
            DatabaseUnavailable: the database cannot be used at the moment.
        """
        wait_ms = round(1000 * (self._wait_seconds if wait_seconds is None else wait_seconds))
        engine = self.engine.execution_options(imgcap_write=not read_only, imgcap_wait_ms=wait_ms)
        try:
            with Session(engine, expire_on_commit=False) as session, session.begin():
                yield session
        except IntegrityError:
            raise
        except (DatabaseError, PoolTimeout) as error:
            # No traceback, since every request logs this while the fault lasts.
            logger.error("the database cannot be used: %s", getattr(error, "orig", error))  # noqa: TRY400
            raise DatabaseUnavailable("The server cannot reach its storage just now; try again in a minute.") from error
        finally:
            if not read_only and not keeps_accounts:
                self.version = object()

    def forget_deleted(self) -> None:
        """Remove deleted rows from SQLite's write-ahead log too, where their old pages would stay for a while."""
        if self.engine.dialect.name == "sqlite":
            with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def open_database(settings: Settings) -> Database:
    """Open the database of the settings and migrate it to the newest version.

    Raises:
        InputError: the data folder cannot be created, the URL is neither SQLite's nor PostgreSQL's, the database cannot
            be reached, or a newer version of this program made it.
    """
    url = database_url(settings)
    engine = create_engine(
        url,
        hide_parameters=True,  # people's data must not reach a log through an error
        pool_pre_ping=True,
        max_overflow=SPARE_CONNECTIONS[url.get_backend_name()],
        pool_timeout=POOL_SECONDS,
    )
    if engine.dialect.name == "sqlite":
        place = Path(engine.url.database or "").parent
        _prepare_sqlite(engine, journal_mode(filesystem=filesystem_of(place)))
    database = Database(engine, settings.database_wait_seconds)
    try:
        engine.connect().close()
        migrate(database)
    except DatabaseError as error:
        engine.dispose()
        if is_damaged(error):
            raise InputError(
                f"The database {engine.url.database} is damaged: stop the app, put a backup in its place "
                "(`imgcap user backup FILE` makes them), and start again."
            ) from error
        raise InputError("The database cannot be opened; check IMGCAP_DATABASE_URL and IMGCAP_DATA_DIR.") from error
    return database


def is_damaged(error: DatabaseError) -> bool:
    """Return whether SQLite raised an error because its file is damaged."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def database_url(settings: Settings) -> URL:
    """Return the SQLAlchemy URL of `settings.database_url`, or of `imgcap.db` in the data folder, which is created.

    Raises:
        InputError: the data folder cannot be created, or the URL is neither SQLite's nor PostgreSQL's.
    """
    if not settings.database_url:
        return URL.create("sqlite", database=str(_private_file(settings.data_dir, "imgcap.db")))
    try:
        url = make_url(settings.database_url)
    except (ArgumentError, ValueError) as error:
        raise InputError("IMGCAP_DATABASE_URL is not a URL; write postgresql://user:password@host/name.") from error
    if url.drivername in {"postgres", "postgresql", "postgresql+psycopg"}:
        return url.set(drivername="postgresql+psycopg")
    if url.drivername in {"sqlite", "sqlite+pysqlite"} and url.database and url.database != ":memory:":
        return url
    raise InputError("IMGCAP_DATABASE_URL must begin with postgresql:// or name a file as sqlite:///FILE.")


def _private_file(folder: Path, name: str) -> Path:
    """Return the path of a file that other users cannot read, and create it and its folder if needed."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / name).touch(mode=0o600)
    except OSError as error:
        raise InputError(DATA_FOLDER_UNWRITABLE) from error
    return folder / name


def _prepare_sqlite(engine: Engine, journal: str) -> None:
    """Set every connection's pragmas, and begin transactions explicitly.

    https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#serializable-isolation-savepoints-transactional-ddl
    """

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions by itself
        connection.execute(f"PRAGMA busy_timeout = {round(1000 * STARTING_SECONDS)}").close()
        _set_journal_mode(connection, journal)
        for pragma in ("synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if "imgcap_wait_ms" in options:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {options['imgcap_wait_ms']}")
        # A transaction that begins with a read and then writes fails without waiting if another write came between.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("imgcap_write") else "BEGIN")


def journal_mode(version: tuple[int, ...] = sqlite3.sqlite_version_info, filesystem: str = "") -> str:
    """Return the journal mode that is safe with a version of SQLite on a type of file system.

    From 3.7.0 to 3.51.2 a race between connections that write or checkpoint at the same moment can lose or corrupt
    committed pages in write-ahead logging (https://sqlite.org/wal.html, "The WAL-Reset Bug"); 3.44.6 and 3.50.7 have
    the fix too. Affected versions use a rollback journal, with about a third of the writes per second
    (`python -m benchmarks.database`). Every version does so on a network or mounted file system, because write-ahead
    logging needs memory that all its processes share (https://sqlite.org/wal.html, "Overview").
    """
    if is_remote(filesystem):
        return "TRUNCATE"
    fixed = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51, 0) or (3, 44, 6) <= version < (3, 45, 0)
    return "WAL" if fixed else "TRUNCATE"


def _set_journal_mode(connection: sqlite3.Connection, journal: str) -> None:
    """Set the journal mode, and wait while another process changes it, which SQLite does not do by itself."""
    deadline = time.monotonic() + STARTING_SECONDS
    while True:
        try:
            connection.execute(f"PRAGMA journal_mode = {journal}").close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def migrate(database: Database) -> None:
    """Migrate the tables to the newest version; if two processes start together, one waits for the other.

    Raises:
        InputError: the tables have a newer version than this program knows.
    """
    with database.session(wait_seconds=STARTING_SECONDS) as session:
        connection = session.connection()
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        try:
            command.upgrade(migration_config(connection), "head")
        except CommandError as error:
            raise InputError("The database was made by a newer imgcap; update this one.") from error


def migration_config(connection: Connection) -> Config:
    """Return Alembic's configuration for migrating over `connection`."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config
