"""Back up the SQLite database while the app runs."""

import sqlite3
from contextlib import closing
from pathlib import Path

from imgcap.accounts.database import database_url
from imgcap.errors import InputError
from imgcap.settings import Settings


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
