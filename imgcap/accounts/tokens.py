"""Manage personal access tokens, with which a program or an agent calls the API without the account's password."""

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from imgcap.accounts.database import Database, DatabaseUnavailable
from imgcap.accounts.sessions import TOUCH_EVERY, hash_token
from imgcap.accounts.tables import AccessToken, User, utc_now
from imgcap.accounts.users import check_exists
from imgcap.errors import InputError

PREFIX = "imgcap_"
"""Prefix by which secret scanners and this server recognise the tokens of imgcap."""
MAX_TOKENS = 20
MAX_NAME = 64
MAX_DAYS = 3650


class Tokens:
    """The tokens of all accounts. Safe to share between threads.

    The database stores their SHA-256 hashes; only the person who made a token knows the token itself.

    Args:
        database: an open database.
        now: returns the current time.
    """

    def __init__(self, database: Database, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._now = now

    def add(self, user_id: int, name: str, days: int | None = None) -> str:
        """Return a new token, which cannot be read again later.

        Args:
            user_id: id of the account.
            name: the owner's name for it; the name of an expired token may be used again.
            days: days until it expires; None for never.

        Raises:
            InputError: the name is empty, too long, not readable text or taken; the days are not 1 to `MAX_DAYS`; the
                account already has `MAX_TOKENS`; or the account does not exist.
        """
        name = _check_name(name)
        if days is not None and not 1 <= days <= MAX_DAYS:
            raise InputError(f"A token expires after 1 to {MAX_DAYS} days, or never: choose one of these.")
        now, token = self._now(), PREFIX + secrets.token_urlsafe(32)
        with self._database.session() as session:
            check_exists(session, user_id)
            session.execute(delete(AccessToken).where(AccessToken.user_id == user_id, AccessToken.expires_at <= now))
            names = session.scalars(select(AccessToken.name).where(AccessToken.user_id == user_id)).all()
            if name in names:
                raise InputError("There is a token of that name already: choose another name, or revoke it first.")
            if len(names) >= MAX_TOKENS:
                raise InputError(f"An account has at most {MAX_TOKENS} tokens: revoke one first.")
            expires_at = None if days is None else now + timedelta(days=days)
            session.add(
                AccessToken(
                    user_id=user_id,
                    name=name,
                    token_hash=str(hash_token(token)),
                    created_at=now,
                    expires_at=expires_at,
                )
            )
        return token

    def find(self, token: str) -> User | None:
        """Return the user of a token and record its use; None if the token is unknown, revoked or expired."""
        now = self._now()
        with self._database.session(read_only=True) as session:
            row = session.execute(
                select(User, AccessToken.id, AccessToken.last_used_at)
                .join(User)
                .where(
                    AccessToken.token_hash == str(hash_token(token)),
                    or_(AccessToken.expires_at.is_(None), AccessToken.expires_at > now),
                )
            ).one_or_none()
        if row is None:
            return None
        user, token_id, last_used_at = row.tuple()
        if last_used_at is None or now - last_used_at >= TOUCH_EVERY:
            with suppress(DatabaseUnavailable):  # a full disk or a lock must not shut anybody out
                self._touch(token_id, now)
        return user

    def list(self, user_id: int) -> Sequence[AccessToken]:
        """Return the account's tokens, newest first."""
        with self._database.session(read_only=True) as session:
            return tokens_of(session, user_id)

    def revoke(self, user_id: int, name: str) -> None:
        """Revoke one of the account's tokens at once.

        Raises:
            InputError: the account has no token of that name.
        """
        with self._database.session() as session:
            named = (AccessToken.user_id == user_id) & (AccessToken.name == " ".join(name.split()))
            revoked = session.execute(delete(AccessToken).where(named).returning(AccessToken.id)).first()
        if revoked is None:
            raise InputError("There is no token of that name; it may have been revoked.")

    def _touch(self, token_id: int, now: datetime) -> None:
        with self._database.session(wait_seconds=0.2) as session:
            stored = session.get(AccessToken, token_id)
            if stored is not None:  # it may just have been revoked
                stored.last_used_at = now


def tokens_of(session: Session, user_id: int) -> Sequence[AccessToken]:
    """Return an account's tokens, newest first, within a transaction."""
    own = select(AccessToken).where(AccessToken.user_id == user_id)
    return session.scalars(own.order_by(AccessToken.id.desc())).all()


def revoke_all(session: Session, user_id: int) -> None:
    """Revoke every token of an account within a transaction."""
    session.execute(delete(AccessToken).where(AccessToken.user_id == user_id))


def _check_name(name: str) -> str:
    name = " ".join(name.split())
    if not name:
        raise InputError("The token needs a name, such as that of the program that will use it.")
    if len(name) > MAX_NAME or not name.isprintable():
        raise InputError(f"The token's name must be at most {MAX_NAME} letters, digits and signs; shorten it.")
    return name
