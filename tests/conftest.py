import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgresql import find_binaries, postgresql_server
from sqlalchemy import create_engine, make_url, text

from imgcap.accounts import Accounts
from imgcap.database import Database, open_database
from imgcap.settings import Settings


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a private PostgreSQL server."""
    binaries = find_binaries()
    if binaries is None:
        reason = "PostgreSQL is not installed (Debian: apt-get install postgresql)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with postgresql_server(binaries) as url:
        yield url


@pytest.fixture
def empty_postgresql(postgresql: str) -> str:
    """The server's URL, with nothing left in the database by the test before."""
    server = create_engine(make_url(postgresql).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        connection.execute(text(f"SELECT pg_terminate_backend(pid) {others}"))
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    server.dispose()
    return postgresql


@pytest.fixture(params=["sqlite", "postgresql"])
def db_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings that name an empty database: the test runs on SQLite, and again on PostgreSQL."""
    url = request.getfixturevalue("empty_postgresql") if request.param == "postgresql" else ""
    return Settings(data_dir=tmp_path / "data", database_url=url)


@pytest.fixture
def database(db_settings: Settings) -> Iterator[Database]:
    database = open_database(db_settings)
    yield database
    database.close()


@pytest.fixture
def accounts(database: Database, db_settings: Settings) -> Iterator[Accounts]:
    accounts = Accounts(database, db_settings)
    yield accounts
    accounts.close()
