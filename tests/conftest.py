import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

# Set before anything imports huggingface_hub, which reads it only once: tests only talk to this machine.
os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # one core for each of the processes that run side by side, and for theirs
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from postgresql import find_binaries, postgresql_server
from sqlalchemy import create_engine, make_url, text

from imgcap.accounts.accounts import Accounts
from imgcap.accounts.database import Database, open_database
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


# `make check` leaves out the tests that use these servers, and the folders and files that train, start Java, install
# the wheel, run commands, try every encoder with every decoder, or have decoders run into their limits.
SERVERS = {"server", "strict_server", "proxied_server", "launched", "postgresql"}
TRAINING = {"test_calibration.py"}  # of blur/: ROC and intervals by scikit-learn and scipy
SLOW = {"evaluation", "hub", "training", "test_benchmarks.py", "test_docs.py", "test_install.py",
        "blur/test_calibration.py", "cli/test_main.py", "images/test_fuzz.py", "images/test_reduced.py",
        "images/test_sandbox.py", "test_captioner.py",
        "model/test_modeling.py", "web/test_server.py"}  # fmt: skip


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests of the larger data unless IMGCAP_TEST_DATA names its folder, and mark slow ones."""
    if "IMGCAP_TEST_DATA" not in os.environ:
        external = [item for item in items if item.get_closest_marker("external")]
        if external:
            config.hook.pytest_deselected(items=external)
            items[:] = [item for item in items if item not in external]
    for item in items:
        used = {*getattr(item, "fixturenames", ())}
        if hasattr(item, "callspec"):
            used.add(item.callspec.params.get("db_settings"))  # this fixture asks for its server when it runs
        place = item.path.relative_to(Path(__file__).parent)
        if used & SERVERS or {place.parts[0], place.as_posix()} & SLOW:
            item.add_marker(pytest.mark.slow)
        if "tiny_captioner" in used or item.path.name in TRAINING:
            item.add_marker(pytest.mark.train)


@pytest.fixture
def test_data() -> Path:
    """The folder of the larger data; for tests marked `external`."""
    return Path(os.environ["IMGCAP_TEST_DATA"])


@pytest.fixture
def without_meteor(monkeypatch: pytest.MonkeyPatch) -> None:
    """METEOR is null, as on a machine without Java. Starting Java would take most of the time of many small tests."""
    monkeypatch.setattr("imgcap.evaluation.meteor.available", lambda: False)


@pytest.fixture(scope="session")
def caption_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set in the layout of Flickr8k: squares and discs in three colours."""
    from shapes import save_caption_dataset

    folder = tmp_path_factory.mktemp("captions")
    save_caption_dataset(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_captioner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a captioner of the real architecture with random weights."""
    from tiny import save_tiny_captioner

    folder = tmp_path_factory.mktemp("captioner")
    save_tiny_captioner(folder)
    return folder


@pytest.fixture(scope="session")
def exported_captioner(tiny_captioner: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same captioner with its ONNX files, float32 and int8."""
    import numpy as np

    from imgcap.inference.engines.export import export

    folder = tmp_path_factory.mktemp("exported") / "captioner"
    shutil.copytree(tiny_captioner, folder)
    rng = np.random.default_rng(0)
    export(folder, [rng.integers(0, 256, (50, 70, 3), dtype=np.uint8) for _ in range(8)])
    return folder
