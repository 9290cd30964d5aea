"""Sign-ins that survive a restart and can be ended, in the place of Gradio's dictionary of tokens."""

import hashlib
from collections.abc import Callable, Iterator, MutableMapping
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, func, select
from sqlalchemy.orm import Session

from imgcap.accounts.database import Database, User, UserSession, utc_now
from imgcap.accounts.users import get_user
from imgcap.settings import Settings

TOUCH_EVERY = timedelta(minutes=1)
"""How exactly the last use is kept: a write at every request would cost more than it tells."""


class TokenHash(str):
    """The stored hash of a token: what iterating over the store gives, and what it takes for the token itself.

    A browser can only send a plain string, which is hashed first: whoever reads the database can sign in with none
    of it.
    """

    __slots__ = ()


def hash_token(token: str) -> TokenHash:
    """SHA-256; a random token of 128 bits and more needs no slow hash and no salt."""
    return (
        token if isinstance(token, TokenHash) else TokenHash(hashlib.sha256(token.encode(errors="replace")).hexdigest())
    )


class SessionStore(MutableMapping[str, str]):
    """Token -> user name, in the database: a drop-in for `gradio.routes.App.tokens`.

    A session ends at `settings.session_days` after the sign-in and after `settings.session_idle_days` without use;
    reading it is using it. Setting a token makes a session; iterating gives hashes of tokens, which serve as keys too.

    Args:
        database: an open database.
        settings: for the two ends of a session.
        now: the clock.
    """

    def __init__(self, database: Database, settings: Settings, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._max_age = timedelta(days=settings.session_days)
        self._max_idle = timedelta(days=settings.session_idle_days)
        self._now = now

    def __getitem__(self, token: str) -> str:
        """The user name; KeyError where there is no such session, or None was asked for (Gradio does)."""
        if not isinstance(token, str):
            raise KeyError(token)
        now = self._now()
        with self._database.session(read_only=True) as session:
            row = session.execute(
                select(User.name, UserSession.last_used_at)
                .join(User)
                .where(UserSession.token_hash == hash_token(token), self._is_live(now))
            ).one_or_none()
        if row is None:
            raise KeyError("no such session")
        if now - row.last_used_at >= TOUCH_EVERY:
            self._touch(token, now)
        name: str = row.name
        return name

    def __setitem__(self, token: str, name: str) -> None:
        """Begin a session; InputError where there is no such account. Sessions that have run out are swept away."""
        now = self._now()
        with self._database.session() as session:
            session.execute(delete(UserSession).where(~self._is_live(now)))
            user = get_user(session, name, keep=True)
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
        """Sign out one session; returns whether there was one."""
        with self._database.session() as session:
            ended = session.execute(
                delete(UserSession)
                .where(UserSession.token_hash == str(hash_token(token)))
                .returning(UserSession.user_id)
            )
            return ended.first() is not None

    def end_all(self, name: str, except_token: str | None = None) -> int:
        """Sign out every session of a user, except one; returns how many.

        Raises:
            InputError: there is no such account.
        """
        with self._database.session() as session:
            return end_sessions(session, get_user(session, name), except_token)

    def _is_live(self, now: datetime) -> ColumnElement[bool]:
        return and_(UserSession.created_at > now - self._max_age, UserSession.last_used_at > now - self._max_idle)

    def _touch(self, token: str, now: datetime) -> None:
        with self._database.session() as session:
            stored = session.get(UserSession, str(hash_token(token)))
            if stored is not None:  # it may have been ended a moment ago
                stored.last_used_at = now


def end_sessions(session: Session, user: User, except_token: str | None = None) -> int:
    """Within a transaction, end the user's sessions, except that of one token; returns how many."""
    kept = "" if except_token is None else str(hash_token(except_token))
    ended = session.execute(
        delete(UserSession)
        .where(UserSession.user_id == user.id, UserSession.token_hash != kept)
        .returning(UserSession.token_hash)
    )
    return len(ended.all())
