"""Keep, edit, search, export and delete each user's readings."""

import csv
import hashlib
import io
import json
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVarTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sqlalchemy import ColumnElement, Select, and_, delete, func, or_, select
from sqlalchemy.orm import Session

from imgcap.accounts.database import Database
from imgcap.accounts.grouping import GroupedWrites
from imgcap.accounts.tables import HistoryEntry, utc_now
from imgcap.accounts.users import check_exists
from imgcap.errors import InputError
from imgcap.reading import Length, Reading
from imgcap.settings import Settings

R = TypeVarTuple("R")
Source = Literal["picture", "link"]
THUMBNAIL_SIDE = 512
"""Pixels of a thumbnail's longer side: twice the size in the history, to be sharp on screens of double density."""
MAX_CAPTION = 500
"""Maximum number of characters of a caption that a user writes."""
MAX_ID = 2**31 - 1
"""Largest id in PostgreSQL; SQLite's driver raises at integers of more than 64 bits."""
NO_SUCH_READING = "Your history has no such reading; it may have been deleted."
COLUMNS = (
    "id", "time", "source", "valid", "reason", "blur_variance", "threshold", "caption", "confidence",
    "edited_caption", "warning", "model", "length",
)  # fmt: skip
"""Columns of an export; new ones are only appended."""


@dataclass(frozen=True)
class Origin:
    """The origin of a reading.

    source: whether the image was uploaded or came from a link.
    digest: the result of `digest_picture`; None if the same image should not be recognised again.
    model: name of the model that was asked for a caption, if any.
    length: length of the caption that was asked for.
    """

    source: Source = "picture"
    digest: str | None = None
    model: str | None = None
    length: Length | None = None


UPLOADED = Origin()


def digest_picture(image: NDArray[np.uint8]) -> str:
    """Return the SHA-256, in hexadecimal, of a decoded image (H, W, 3) uint8, which is equal for equal pixels."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def make_thumbnail(image: NDArray[np.uint8], side: int = THUMBNAIL_SIDE) -> bytes:
    """Return a JPEG of at most `side` x `side` pixels, without metadata, of an upright (H, W, 3) uint8 RGB image."""
    picture = Image.fromarray(image)
    picture.thumbnail((side, side))
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=80)
    return jpeg.getvalue()


class History:
    """The readings of all users, which are private to each. Safe to share between threads.

    When a method returns, its changes are on the disk.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._additions = GroupedWrites(database)
        self._limit = settings.history_limit

    def add(self, user_id: int, reading: Reading, thumbnail: bytes, origin: Origin = UPLOADED) -> int:
        """Store a reading and return its id; above `settings.history_limit` readings the user's oldest is deleted.

        The same photo twice in a row is stored once: if the user's newest reading has the same pixels (`digest`), model
        and length, the new reading replaces it, but keeps its id and the user's own caption, if any.

        Args:
            user_id: id of the account.
            reading: a Reading without an error. Its `source` is not stored, since it may be a link or a file name.
            thumbnail: the result of `make_thumbnail`.
            origin: the origin of the reading.

        Raises:
            InputError: the account does not exist.
            ValueError: the reading has no measurement.
        """
        valid, variance = reading.valid, reading.blur_variance
        if valid is None or variance is None:
            raise ValueError("only a reading with a measurement belongs in the history")

        def write(session: Session) -> int:
            check_exists(session, user_id)
            entry = _find_same(session, user_id, origin) or HistoryEntry(user_id=user_id)
            entry.created_at = utc_now()
            entry.source, entry.digest = origin.source, origin.digest
            entry.model, entry.length = origin.model, origin.length
            entry.variance, entry.threshold = variance, reading.threshold
            entry.valid, entry.reason, entry.warning = valid, reading.reason, reading.warning
            entry.caption, entry.confidence = reading.caption, reading.confidence
            entry.thumbnail = thumbnail
            session.add(entry)
            session.flush()
            self._make_room(session, user_id)
            return entry.id

        return self._additions.run(write)

    def get(self, user_id: int, entry_id: int) -> HistoryEntry:
        """Return one of the user's readings.

        Raises:
            InputError: the user has no reading of that id, even if another user has.
        """
        with self._database.session(read_only=True) as session:
            return _get_own(session, user_id, entry_id)

    def edit(self, user_id: int, entry_id: int, caption: str | None) -> HistoryEntry:
        """Set the user's own caption beside the model's, or with None restore the model's; return the reading.

        Line breaks and other white space become single spaces. A caption equal to the model's is not an edit.

        Raises:
            InputError: the caption is empty, longer than `MAX_CAPTION` or not readable text, or the user has no reading
                of that id, even if another user has.
        """
        text = None if caption is None else check_caption(caption)
        with self._database.session() as session:
            entry = _get_own(session, user_id, entry_id)
            entry.edited_caption = None if text == entry.caption else text
            return entry

    def search(self, user_id: int, text: str = "", limit: int = 20, offset: int = 0) -> Sequence[HistoryEntry]:
        """Return the user's readings, newest first, whose captions or reason contain every word of `text`."""
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
        """Delete all the user's readings; return how many there were."""
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

    def to_json(self, user_id: int) -> str:
        """Return the user's readings, newest first, as a JSON list of objects with the same fields as the CSV."""
        with self._database.session(read_only=True) as session:
            return json.dumps(list(_rows(session, user_id)), ensure_ascii=False, indent=1)

    def _make_room(self, session: Session, user_id: int) -> None:
        kept = (
            _newest_first(select(HistoryEntry.id).where(HistoryEntry.user_id == user_id))
            .limit(1)
            .offset(self._limit - 1)
        )
        oldest_kept = session.scalar(kept)
        if oldest_kept is not None:
            session.execute(delete(HistoryEntry).where(HistoryEntry.user_id == user_id, HistoryEntry.id < oldest_kept))


def check_caption(text: str) -> str:
    """Return a caption that a person wrote, on one line.

    Raises:
        InputError: the caption is empty, longer than `MAX_CAPTION`, or not readable text.
    """
    line = " ".join(text.split())
    if not line:
        raise InputError("The caption is empty: write one, or restore the model's own.")
    if len(line) > MAX_CAPTION:
        raise InputError(f"The caption has {len(line)} characters: shorten it to {MAX_CAPTION}.")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in line):
        raise InputError("The caption holds a control character or half of one: type it again.")
    return line


def history_csv(session: Session, user_id: int) -> str:
    """Return the CSV of `History.to_csv`, within a transaction."""
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(COLUMNS)
    for row in _rows(session, user_id):
        writer.writerow(map(csv_cell, row.values()))
    return table.getvalue()


def _rows(session: Session, user_id: int) -> Iterator[dict[str, object]]:
    """Yield the values of `COLUMNS` for each of the user's readings, newest first."""
    for e in session.scalars(_newest_first(select(HistoryEntry).where(HistoryEntry.user_id == user_id))):
        values = (
            e.id, e.created_at.isoformat(), e.source, e.valid, e.reason, e.variance, e.threshold, e.caption,
            e.confidence, e.edited_caption, e.warning, e.model, e.length,
        )  # fmt: skip
        yield dict(zip(COLUMNS, values, strict=True))


def csv_cell(cell: object) -> object:
    """Return the cell, with an apostrophe before text that a spreadsheet would execute (OWASP, CSV Injection)."""
    if not isinstance(cell, str):
        return cell
    plain = unicodedata.normalize("NFKC", cell)
    return f"'{cell}" if plain.startswith(("\t", "\r", "\n")) or plain.lstrip().startswith(tuple("=+-@")) else cell


def _newest_first(query: Select[*R]) -> Select[*R]:
    return query.order_by(HistoryEntry.id.desc())


def _find_same(session: Session, user_id: int, origin: Origin) -> HistoryEntry | None:
    """Return the user's newest reading if it has the same image, model and length."""
    newest = session.scalar(_newest_first(select(HistoryEntry).where(HistoryEntry.user_id == user_id)).limit(1))
    if newest is None or origin.digest is None:
        return None
    asked = (newest.digest, newest.model, newest.length)
    return newest if asked == (origin.digest, origin.model, origin.length) else None


def _get_own(session: Session, user_id: int, entry_id: int) -> HistoryEntry:
    entry = session.scalar(select(HistoryEntry).where(_is_own(user_id, entry_id)))
    if entry is None:
        raise InputError(NO_SUCH_READING)
    return entry


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
                HistoryEntry.edited_caption.icontains(word, autoescape=True),
                HistoryEntry.reason.icontains(word, autoescape=True),
            )
            for word in words
        ),
    )
