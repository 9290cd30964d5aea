"""Keep, search, export and delete each user's readings."""

import csv
import io
import unicodedata
from collections.abc import Sequence
from typing import Literal, TypeVarTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sqlalchemy import ColumnElement, Select, and_, delete, func, or_, select
from sqlalchemy.orm import Session

from imgcap.accounts.database import Database, HistoryEntry
from imgcap.accounts.users import check_exists
from imgcap.errors import InputError
from imgcap.reading import Reading
from imgcap.settings import Settings

R = TypeVarTuple("R")
Source = Literal["picture", "link"]
THUMBNAIL_SIDE = 256
MAX_ID = 2**31 - 1
"""Largest id in PostgreSQL; SQLite's driver raises at integers of more than 64 bits."""
NO_SUCH_READING = "Your history has no such reading; it may have been deleted."
CSV_COLUMNS = ("id", "time", "source", "valid", "reason", "blur_variance", "threshold", "caption", "confidence")


def make_thumbnail(image: NDArray[np.uint8], side: int = THUMBNAIL_SIDE) -> bytes:
    """Return a JPEG of at most `side` x `side` pixels, without metadata, of an upright (H, W, 3) uint8 RGB picture."""
    picture = Image.fromarray(image)
    picture.thumbnail((side, side))
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=80)
    return jpeg.getvalue()


class History:
    """The readings of every user, each private to its user. Safe to share between threads.

    When a method returns, its changes are on the disk.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._limit = settings.history_limit

    def add(self, user_id: int, reading: Reading, thumbnail: bytes, source: Source = "picture") -> int:
        """Store a reading and return its id; above `settings.history_limit` readings the user's oldest is deleted.

        Args:
            user_id: of the account.
            reading: a Reading without an error. Its `source` is not kept, since it may hold a link or a file name.
            thumbnail: what `make_thumbnail` returned.
            source: whether the picture was uploaded or came from a link.

        Raises:
            InputError: there is no such account.
            ValueError: the reading has no measurement.
        """
        if reading.valid is None or reading.blur_variance is None:
            raise ValueError("only a reading with a measurement belongs in the history")
        with self._database.session() as session:
            check_exists(session, user_id)
            entry = HistoryEntry(
                user_id=user_id,
                source=source,
                variance=reading.blur_variance,
                threshold=reading.threshold,
                valid=reading.valid,
                reason=reading.reason,
                caption=reading.caption,
                confidence=reading.confidence,
                thumbnail=thumbnail,
            )
            session.add(entry)
            session.flush()
            self._make_room(session, user_id)
            return entry.id

    def search(self, user_id: int, text: str = "", limit: int = 20, offset: int = 0) -> Sequence[HistoryEntry]:
        """Return the user's readings, newest first, whose caption or reason contains every word of `text`."""
        with self._database.session(read_only=True) as session:
            found = select(HistoryEntry).where(_matches(user_id, text))
            return session.scalars(_newest_first(found).limit(limit).offset(offset)).all()

    def count(self, user_id: int, text: str = "") -> int:
        """Return how many readings `search` would find in all."""
        with self._database.session(read_only=True) as session:
            matches = _matches(user_id, text)
            return session.scalar(select(func.count()).select_from(HistoryEntry).where(matches)) or 0

    def get_thumbnail(self, user_id: int, entry_id: int) -> bytes:
        """Return the JPEG thumbnail of one of the user's readings.

        Raises:
            InputError: the user has no reading of that id, even if another user has.
        """
        with self._database.session(read_only=True) as session:
            thumbnail = session.scalar(select(HistoryEntry.thumbnail).where(_is_own(user_id, entry_id)))
        if thumbnail is None:
            raise InputError(NO_SUCH_READING)
        return thumbnail

    def delete(self, user_id: int, entry_id: int) -> None:
        """Delete one of the user's readings.

        Raises:
            InputError: the user has no reading of that id, even if another user has.
        """
        with self._database.session() as session:
            own = _is_own(user_id, entry_id)
            deleted = session.execute(delete(HistoryEntry).where(own).returning(HistoryEntry.id)).first()
        if deleted is None:
            raise InputError(NO_SUCH_READING)

    def delete_all(self, user_id: int) -> int:
        """Delete all the user's readings; return how many."""
        with self._database.session() as session:
            return len(
                session.execute(
                    delete(HistoryEntry).where(HistoryEntry.user_id == user_id).returning(HistoryEntry.id)
                ).all()
            )

    def to_csv(self, user_id: int) -> str:
        """Return the user's readings, newest first, as CSV (RFC 4180) in which no cell is a spreadsheet formula."""
        with self._database.session(read_only=True) as session:
            return history_csv(session, user_id)

    def _make_room(self, session: Session, user_id: int) -> None:
        kept = (
            _newest_first(select(HistoryEntry.id).where(HistoryEntry.user_id == user_id))
            .limit(1)
            .offset(self._limit - 1)
        )
        oldest_kept = session.scalar(kept)
        if oldest_kept is not None:
            session.execute(delete(HistoryEntry).where(HistoryEntry.user_id == user_id, HistoryEntry.id < oldest_kept))


def history_csv(session: Session, user_id: int) -> str:
    """Return the CSV of `History.to_csv`, within a transaction."""
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(CSV_COLUMNS)
    for e in session.scalars(_newest_first(select(HistoryEntry).where(HistoryEntry.user_id == user_id))):
        row = (
            e.id,
            e.created_at.isoformat(),
            e.source,
            e.valid,
            e.reason,
            e.variance,
            e.threshold,
            e.caption,
            e.confidence,
        )
        writer.writerow(map(csv_cell, row))
    return table.getvalue()


def csv_cell(cell: object) -> object:
    """Return the cell, with an apostrophe before text that a spreadsheet would execute (OWASP, CSV Injection)."""
    if not isinstance(cell, str):
        return cell
    plain = unicodedata.normalize("NFKC", cell)
    return f"'{cell}" if plain.startswith(("\t", "\r", "\n")) or plain.lstrip().startswith(tuple("=+-@")) else cell


def _newest_first(query: Select[*R]) -> Select[*R]:
    return query.order_by(HistoryEntry.id.desc())


def _is_own(user_id: int, entry_id: int) -> ColumnElement[bool]:
    if not 0 < entry_id <= MAX_ID:
        raise InputError(NO_SUCH_READING)
    return and_(HistoryEntry.user_id == user_id, HistoryEntry.id == entry_id)


def _matches(user_id: int, text: str) -> ColumnElement[bool]:
    words = text.replace("\0", " ").split()  # PostgreSQL refuses NUL
    return and_(
        HistoryEntry.user_id == user_id,
        *(
            or_(
                HistoryEntry.caption.icontains(word, autoescape=True),
                HistoryEntry.reason.icontains(word, autoescape=True),
            )
            for word in words
        ),
    )
