"""Open the database, define its tables and migrate them to the newest version.

SQLite in the data folder by default; PostgreSQL (psycopg 3) with `IMGCAP_DATABASE_URL`.
"""

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import (
    URL,
    Connection,
    DateTime,
    Dialect,
    Engine,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

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


def utc_now() -> datetime:
    """Return the current time with its time zone (UTC)."""
    return datetime.now(UTC)


class UTCDateTime(TypeDecorator[datetime]):
    """A time in UTC that keeps its time zone also on SQLite, which stores none."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  the signature is SQLAlchemy's
        """Convert any zone to UTC. Raises ValueError for a time without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time in the database needs a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  as above
        """Restore the time zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """The tables. Constraints have names, so that later migrations can change them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class User(Base):
    """An account."""

    __tablename__ = "users"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012  an id is never reused; SQLAlchemy's form

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(32), unique=True)
    """The result of `imgcap.accounts.users.normalise_name`."""
    password_hash: Mapped[str] = mapped_column(Text)
    """Argon2id in PHC string format."""
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now)

    def __repr__(self) -> str:
        return f"User(id={self.id}, name={self.name!r})"


class UserSession(Base):
    """A sign-in. Only the browser knows the token itself."""

    __tablename__ = "sessions"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of the token, in hexadecimal."""
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    last_used_at: Mapped[datetime] = mapped_column(UTCDateTime)


class AccessToken(Base):
    """A personal access token. Only the person who made it knows the token itself."""

    __tablename__ = "tokens"
    __table_args__ = (UniqueConstraint("user_id", "name"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(64))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 of the token, in hexadecimal."""
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    """Accurate to a minute, and only stored if the database could be written."""
    expires_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


class Identity(Base):
    """A person's account elsewhere, which signs them in to their account here."""

    __tablename__ = "identities"

    subject: Mapped[str] = mapped_column(String(255), primary_key=True)
    """The provider's address, a space, and the provider's id of the person."""
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), unique=True)


class HistoryEntry(Base):
    """One reading of one user. Links, file names and places are not stored."""

    __tablename__ = "history"
    __table_args__ = (Index("ix_history_user_id_id", "user_id", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now)
    source: Mapped[str] = mapped_column(String(16))
    """`"picture"` or `"link"`."""
    variance: Mapped[float]
    threshold: Mapped[float]
    valid: Mapped[bool]
    reason: Mapped[str | None] = mapped_column(String(32))
    caption: Mapped[str | None] = mapped_column(Text)
    """The model's caption."""
    confidence: Mapped[float | None]
    thumbnail: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    """A small JPEG without metadata."""
    edited_caption: Mapped[str | None] = mapped_column(Text)
    """The user's own caption; None if the user wrote none."""
    warning: Mapped[str | None] = mapped_column(String(32))
    """As in `imgcap.reading.Reading`."""
    model: Mapped[str | None] = mapped_column(Text)
    """Name of the model that was asked for the caption."""
    length: Mapped[str | None] = mapped_column(String(16))
    """Length of the caption that was asked for."""
    digest: Mapped[str | None] = mapped_column(String(64))
    """The result of `imgcap.accounts.history.digest_picture`."""

    @property
    def shown_caption(self) -> str | None:
        """The user's own caption, or else the model's."""
        return self.caption if self.edited_caption is None else self.edited_caption


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


def back_up(settings: Settings, destination: Path) -> None:
    """Write a consistent copy of the SQLite database to a new file, which only its owner may read.

    The app may write meanwhile. To restore the copy, stop the app and replace `imgcap.db` with it.

    Raises:
        InputError: the database is PostgreSQL, is damaged or does not exist, or the file exists or cannot be written.
    """
    url = database_url(settings)
    if url.get_backend_name() != "sqlite":
        raise InputError("Only SQLite is backed up by this command; use pg_dump for PostgreSQL.")
    try:
        destination.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        raise InputError(f"There is a file {str(destination)!r} already; name another.") from None
    except OSError:
        raise InputError(f"The backup cannot be written to {str(destination)!r}; name another file.") from None
    try:
        with (
            closing(sqlite3.connect(f"file:{url.database}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(destination)) as copy,
        ):
            source.backup(copy)
            sound = copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    except sqlite3.Error as error:
        destination.unlink()
        raise InputError(f"The database cannot be backed up to {str(destination)!r}: {error}.") from None
    if not sound:
        destination.unlink()
        raise InputError(f"The database {url.database} is damaged: restore an earlier backup.")


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
