"""A private PostgreSQL server for the tests, where PostgreSQL is installed."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def find_binaries() -> Path | None:
    """The folder with `initdb`, which Debian keeps off the PATH."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    return max((path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=None)


@contextmanager
def postgresql_server(binaries: Path) -> Iterator[str]:
    """Run a server that listens on a Unix socket alone; yields the URL of its `postgres` database.

    The server refuses to run as root, and so runs as the user `postgres` then.
    """
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="imgcap-pg-", dir="/tmp") as folder:  # a socket's path must be short
        if as_user:
            shutil.chown(folder, "postgres")
        data, log = f"{folder}/data", f"{folder}/log"

        def run(program: str, *args: str) -> None:
            subprocess.run(
                [*as_user, binaries / program, *args], check=True, cwd="/", stdout=subprocess.DEVNULL, timeout=120
            )

        run("initdb", "--pgdata", data, "--username", "imgcap", "--auth", "trust", "--no-sync", "--encoding", "UTF8")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off -c max_connections=50"
        run("pg_ctl", "start", "--pgdata", data, "--log", log, "--options", options, "--wait")
        try:
            yield f"postgresql://imgcap@/postgres?host={folder}"
        finally:
            run("pg_ctl", "stop", "--pgdata", data, "--mode", "immediate", "--wait")
