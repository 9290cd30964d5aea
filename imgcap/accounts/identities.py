"""Manage accounts of people who sign in with an account elsewhere, such as at Hugging Face, without a password here."""

import re
import secrets
import unicodedata
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from imgcap.accounts.accounts import CLOSED, Accounts
from imgcap.accounts.database import Database
from imgcap.accounts.passwords import generate_password
from imgcap.accounts.sessions import hash_token
from imgcap.accounts.tables import Identity, User, UserSession, utc_now
from imgcap.accounts.users import find_user
from imgcap.errors import InputError
from imgcap.settings import Settings

FRESH = timedelta(minutes=10)
"""Time after a sign-in elsewhere during which a person need not prove again who they are."""
_TRIES = 20


class Identities:
    """The accounts that belong to an account elsewhere. Safe to share between threads.

    Their passwords are random and unknown until the owner chooses one.

    Args:
        database: an open database.
        accounts: the accounts in the same database.
        settings: say whether visitors may register.
    """

    def __init__(self, database: Database, accounts: Accounts, settings: Settings) -> None:
        self._database = database
        self._accounts = accounts
        self._settings = settings

    def sign_in(self, subject: str, name: str) -> User:
        """Return the account of a person who signed in elsewhere, and create it at the first time.

        If another account already has the same name here, the new account gets the name with a number.

        Args:
            subject: the person's id elsewhere, which never changes.
            name: the person's name elsewhere.

        Raises:
            InputError: the person has no account yet, and registration is closed.
        """
        user = self._find(subject)
        if user is not None:
            return user
        if not self._settings.open_registration:
            raise InputError(CLOSED)
        for number in range(1, _TRIES + 1):
            user = self._try_to_create(subject, _name_here(name, number))
            if user is not None:
                return user
        raise InputError("No free name was found for your account; register with a name and a password instead.")

    def is_linked(self, user_id: int) -> bool:
        """Return whether the account belongs to an account elsewhere."""
        with self._database.session(read_only=True) as session:
            return session.scalar(select(Identity.subject).where(Identity.user_id == user_id)) is not None

    def is_fresh(self, user_id: int, token: str | None) -> bool:
        """Return whether the account belongs to one elsewhere and the session of this token began a moment ago."""
        with self._database.session(read_only=True) as session:
            began = session.scalar(
                select(UserSession.created_at)
                .join(Identity, Identity.user_id == UserSession.user_id)
                .where(UserSession.token_hash == str(hash_token(token or "")), UserSession.user_id == user_id)
            )
        return began is not None and utc_now() - began < FRESH

    def _find(self, subject: str) -> User | None:
        with self._database.session(read_only=True) as session:
            return session.scalar(select(User).join(Identity).where(Identity.subject == subject))

    def _try_to_create(self, subject: str, name: str) -> User | None:
        """Return a new account with its identity; None if the name is taken."""
        with self._database.session(read_only=True) as session:
            if find_user(session, name):
                return None
        password = generate_password(self._settings.min_password_length)
        user = User(name=name, password_hash=self._accounts.hash_password(password))
        try:
            with self._database.session() as session:
                session.add(user)
                session.flush()
                session.add(Identity(subject=subject, user_id=user.id))
        except IntegrityError:  # the same person signed in twice at the same moment
            return self._find(subject)
        return user


def _name_here(name: str, number: int) -> str:
    """Return a name that is allowed here, derived from a name elsewhere."""
    plain = unicodedata.normalize("NFKD", name).casefold()
    plain = re.sub(r"[^a-z0-9._-]", "", plain).strip("._-")[:26].strip("._-")
    if len(plain) < 3:
        plain = f"user-{secrets.token_hex(3)}"
    return plain if number == 1 else f"{plain}-{number}"
