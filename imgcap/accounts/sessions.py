"""Store sign-ins in the database instead of Gradio's dictionary, so that they survive a restart and can be ended."""

import hashlib
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, delete, func, select
from sqlalchemy.orm import Session

from imgcap.accounts.database import Database, DatabaseUnavailable
from imgcap.accounts.tables import User, UserSession, utc_now
from imgcap.accounts.users import check_exists, get_user
from imgcap.settings import Settings

TOUCH_EVERY = timedelta(minutes=1)
"""Resolution of the stored time of last use, because a write at every request would cost too much."""
KNOWN_FOR = timedelta(seconds=5)
"""How long a session that was read is not read again, unless this process changed an account or a sign-in meanwhile.

With a rollback journal SQLite lets nobody read while it commits, and while captions are written it often does. A
session that another process ends, such as `imgcap user remove`, ends here so much later.
"""
MOST_KNOWN = 10_000
"""Number of sessions that are remembered at once."""


class TokenHash(str):
    """The stored hash of a token. Iterating over the store yields hashes, and the store accepts them as keys.

    A browser can only send a plain string, which is hashed first, so the hashes in the database cannot be used to sign
    in.
    """

    __slots__ = ()


def hash_token(token: str) -> TokenHash:
    """Return the SHA-256 of a token; a random token of 128 bits or more needs no slow hash and no salt."""
    return (
        token if isinstance(token, TokenHash) else TokenHash(hashlib.sha256(token.encode(errors="replace")).hexdigest())
    )


class _Known(NamedTuple):
    """The user of a session as they were read, the database's version before that, and when to read them again."""

    user: User
    version: object
    read_at: datetime
    until: datetime


class SessionStore(MutableMapping[str, str]):
    """A mapping of tokens to users in the database, which replaces `gradio.routes.App.tokens`.

    Gradio sets a token to the typed name. Reading the token gives the account's id as text, so that everything that
    Gradio stores under a "username" belongs to an account, and not to the next person who registers its name.

    A session ends `settings.session_days` after the sign-in, or after `settings.session_idle_days` without use; reading
    a session counts as use. Setting a token creates a session; iterating yields hashes of tokens, which are also keys.

    Args:
        database: an open database.
        settings: say how long a session lasts.
        now: returns the current time.
    """

    def __init__(self, database: Database, settings: Settings, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._max_age = timedelta(days=settings.session_days)
        self._max_idle = timedelta(days=settings.session_idle_days)
        self._now = now
        self._known: dict[str, _Known] = {}

    def recall(self, token: str) -> User | None:
        """Return the user of a session that `find` has just read, without reading; None if it must be read."""
        known = self._known.get(hash_token(token))
        if known is None or known.version is not self._database.version:
            return None
        return known.user if known.read_at <= self._now() < known.until else None

    def find(self, token: str) -> User | None:
        """Return the user of a session and count this as a use; None if the session does not exist."""
        if (user := self.recall(token)) is not None:
            return user
        now, version = self._now(), self._database.version
        with self._database.session(read_only=True) as session:
            row = session.execute(
                select(User, UserSession.last_used_at)
                .join(User)
                .where(UserSession.token_hash == hash_token(token), self._is_live(now))
            ).one_or_none()
        if row is None:
            return None
        user, last_used_at = row.tuple()
        if now - last_used_at >= TOUCH_EVERY:
            with suppress(DatabaseUnavailable):  # a full disk or a lock must not sign anybody out
                self._touch(token, now)
                last_used_at = now
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[hash_token(token)] = _Known(user, version, now, min(now + KNOWN_FOR, last_used_at + TOUCH_EVERY))
        return user

    def __getitem__(self, token: str) -> str:
        """Return the user's id. Raises KeyError if there is no such session, or for None, which Gradio looks up."""
        user = self.find(token) if isinstance(token, str) else None
        if user is None:
            raise KeyError("no such session")
        return str(user.id)

    def __setitem__(self, token: str, name: str) -> None:
        """Begin a session and delete expired ones. Raises InputError if there is no such account."""
        now = self._now()
        with self._database.session() as session:
            session.execute(delete(UserSession).where(~self._is_live(now)))
            user = get_user(session, name)
            check_exists(session, user.id)
            session.merge(
                UserSession(token_hash=str(hash_token(token)), user_id=user.id, created_at=now, last_used_at=now)
            )

    def __delitem__(self, token: str) -> None:
        if not self.end(token):
            raise KeyError("no such session")

    def __iter__(self) -> Iterator[str]:
        with self._database.session(read_only=True) as session:
            hashes = session.scalars(select(UserSession.token_hash).where(self._is_live(self._now()))).all()
        return map(TokenHash, hashes)

    def __len__(self) -> int:
        with self._database.session(read_only=True) as session:
            return session.scalar(select(func.count()).select_from(UserSession).where(self._is_live(self._now()))) or 0

    def end(self, token: str) -> bool:
        """End one session; return whether it existed."""
        with self._database.session() as session:
            ended = session.execute(
                delete(UserSession)
                .where(UserSession.token_hash == str(hash_token(token)))
                .returning(UserSession.user_id)
            )
            return ended.first() is not None

    def end_all(self, user_id: int) -> int:
        """End every session of a user; return how many ended."""
        with self._database.session() as session:
            return end_sessions(session, user_id)

    def _is_live(self, now: datetime) -> ColumnElement[bool]:
        return and_(UserSession.created_at > now - self._max_age, UserSession.last_used_at > now - self._max_idle)

    def _touch(self, token: str, now: datetime) -> None:
        with self._database.session(wait_seconds=0.2, keeps_accounts=True) as session:
            stored = session.get(UserSession, str(hash_token(token)))
            if stored is not None:  # it may just have been ended
                stored.last_used_at = now


def end_sessions(session: Session, user_id: int, except_token: str | None = None) -> int:
    """End the user's sessions within a transaction, except the one of a token; return how many ended."""
    kept = "" if except_token is None else str(hash_token(except_token))
    ended = session.execute(
        delete(UserSession)
        .where(UserSession.user_id == user_id, UserSession.token_hash != kept)
        .returning(UserSession.token_hash)
    )
    return len(ended.all())
