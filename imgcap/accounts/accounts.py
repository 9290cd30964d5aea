"""Register, verify, change, export and delete accounts."""

import asyncio
import io
import json
import logging
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError

from imgcap.accounts.database import Database
from imgcap.accounts.history import history_csv
from imgcap.accounts.passwords import Argon2Hasher, check_password, generate_password, normalise_password
from imgcap.accounts.sessions import end_sessions
from imgcap.accounts.tables import AccessToken, HistoryEntry, Identity, User, UserSession
from imgcap.accounts.tokens import revoke_all, tokens_of
from imgcap.accounts.users import find_user, get_user, normalise_name
from imgcap.errors import InputError
from imgcap.settings import Settings

CLOSED = "Registration is closed here; ask whoever runs this server for an account."
logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


class Accounts:
    """The accounts in a database. Safe to share between threads.

    The methods take names as typed and normalise them. They block for a hash (about 25 ms) or a transaction; on an
    event loop call the `a...` variants, which run in a few separate threads.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._hasher = Argon2Hasher(settings)
        self._threads = ThreadPoolExecutor(settings.hash_concurrency, thread_name_prefix="imgcap-accounts")

    def register(self, name: str, password: str) -> User:
        """Create an account for a visitor.

        Raises:
            InputError: registration is closed, or `create` refuses.
        """
        if not self._settings.open_registration:
            raise InputError(CLOSED)
        return self.create(name, password)

    async def aregister(self, name: str, password: str) -> User:
        """Run `register` in a thread, off the event loop."""
        return await self._in_thread(self.register, name, password)

    def create(self, name: str, password: str) -> User:
        """Create an account, whether registration is open or closed.

        Raises:
            InputError: the name is not allowed or is taken, or the password breaks a rule.
        """
        name = normalise_name(name)
        password = check_password(password, name, self._settings.min_password_length)
        taken = InputError("That name is taken; choose another.")
        with self._database.session(read_only=True) as session:
            if find_user(session, name):  # only saves a hash, since the constraint below decides
                raise taken
        user = User(name=name, password_hash=self._hasher.hash(password))
        try:
            with self._database.session() as session:
                session.add(user)
        except IntegrityError as error:
            raise taken from error
        logger.info("account %d created", user.id)
        return user

    def create_first(self, name: str, password: str) -> None:
        """Create an account unless one of that name exists; the password of an existing account does not change.

        Raises:
            InputError: the name is not allowed, or the password breaks a rule.
        """
        with self._database.session(read_only=True) as session:
            if find_user(session, normalise_name(name)):
                return
        self.create(name, password)

    def hash_password(self, password: str) -> str:
        """Return the hash of a password that the database stores."""
        return self._hasher.hash(normalise_password(password))

    def verify(self, name: str, password: str) -> User | None:
        """Return the user of that name if the password is theirs, else None.

        It costs one Argon2 verification whether the name is unknown, malformed or known. A hash made with parameters
        other than the current ones is renewed.
        """
        try:
            wanted, given = normalise_name(name), normalise_password(password)
        except InputError:
            self._hasher.verify(self._hasher.decoy, "")
            return None
        with self._database.session(read_only=True) as session:
            user = find_user(session, wanted)
        if not self._hasher.verify(user.password_hash if user else self._hasher.decoy, given) or not user:
            return None
        if self._hasher.needs_rehash(user.password_hash):
            self._renew_hash(user, given)
        return user

    async def averify(self, name: str, password: str) -> User | None:
        """Run `verify` in a thread, off the event loop."""
        return await self._in_thread(self.verify, name, password)

    def change_password(self, user: User, old: str, new: str, keep_session: str | None = None) -> None:
        """Set a new password, revoke the user's access tokens, and end the sessions except that of `keep_session`.

        Tokens are revoked because a person who knew the old password may have made some.

        Raises:
            InputError: the old password is wrong, or the new one breaks a rule.
        """
        verified = self.verify(user.name, old)
        if verified is None or verified.id != user.id:
            raise InputError("The current password is wrong; type it again.")
        self.set_password(verified, new, keep_session)

    def set_password(self, user: User, new: str, keep_session: str | None) -> None:
        """Set a new password as `change_password` does, for a user who has already proved who they are.

        Raises:
            InputError: the password breaks a rule.
        """
        self._set_password(user, check_password(new, user.name, self._settings.min_password_length), keep_session)

    async def aset_password(self, user: User, new: str, keep_session: str | None) -> None:
        """Run `set_password` in a thread, off the event loop."""
        await self._in_thread(self.set_password, user, new, keep_session)

    def reset_password(self, name: str) -> str:
        """Give the account a random password, end all its sessions and access tokens, and return the password.

        Raises:
            InputError: there is no such account.
        """
        user, password = self.get(name), generate_password(self._settings.min_password_length)
        self._set_password(user, password, keep_session=None)
        return password

    def name_of(self, user_id: int) -> str | None:
        """Return the name of an account, or None if it does not exist."""
        with self._database.session(read_only=True) as session:
            return session.scalar(select(User.name).where(User.id == user_id))

    def get(self, name: str) -> User:
        """Return the user of that name.

        Raises:
            InputError: there is no such account.
        """
        with self._database.session(read_only=True) as session:
            return get_user(session, name)

    def delete(self, user_id: int) -> None:
        """Delete the account with its sessions, tokens and history, also from the database's log of writes.

        Raises:
            InputError: there is no such account.
        """
        with self._database.session() as session:
            if session.execute(delete(User).where(User.id == user_id).returning(User.id)).first() is None:
                raise InputError("There is no such account; it may have been deleted.")
        self._database.forget_deleted()
        logger.info("account %d deleted", user_id)

    def list(self) -> Sequence[User]:
        """Return every user, ordered by name."""
        with self._database.session(read_only=True) as session:
            return session.scalars(select(User).order_by(User.name)).all()

    def export(self, user: User) -> bytes:
        """Return everything that is stored about a user, as a ZIP archive.

        It holds `account.json` (name, creation, id elsewhere, sessions, access tokens), `history.csv` and
        `thumbnails/ID.jpg`. The hashes of the password and of the tokens are left out, because they are useless to the
        user and useful to a thief.
        """
        archive = io.BytesIO()
        with (
            self._database.session(read_only=True) as session,
            zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as z,
        ):
            sessions = session.scalars(select(UserSession).where(UserSession.user_id == user.id)).all()
            account = _account_as_dict(user, sessions, tokens_of(session, user.id))
            account["identity"] = session.scalar(select(Identity.subject).where(Identity.user_id == user.id))
            z.writestr("account.json", json.dumps(account, indent=2))
            z.writestr("history.csv", history_csv(session, user.id))
            thumbnails = select(HistoryEntry.id, HistoryEntry.thumbnail).where(HistoryEntry.user_id == user.id)
            for entry_id, thumbnail in session.execute(thumbnails.execution_options(yield_per=100)):
                z.writestr(f"thumbnails/{entry_id}.jpg", thumbnail, zipfile.ZIP_STORED)
        return archive.getvalue()

    def close(self) -> None:
        """Wait for running calls and end the threads."""
        self._threads.shutdown()

    def _set_password(self, user: User, password: str, keep_session: str | None) -> None:
        hashed = self._hasher.hash(password)
        with self._database.session() as session:
            session.execute(update(User).where(User.id == user.id).values(password_hash=hashed))
            end_sessions(session, user.id, keep_session)
            revoke_all(session, user.id)
        logger.info("account %d has a new password", user.id)

    def _renew_hash(self, user: User, password: str) -> None:
        """Store a hash with the current parameters, unless the password was changed meanwhile."""
        unchanged = (User.id == user.id) & (User.password_hash == user.password_hash)
        hashed = self._hasher.hash(password)
        with self._database.session() as session:
            session.execute(update(User).where(unchanged).values(password_hash=hashed))

    async def _in_thread(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(function, *args, **kwargs))


def _account_as_dict(user: User, sessions: Sequence[UserSession], tokens: Sequence[AccessToken]) -> dict[str, object]:
    return {
        "name": user.name,
        "created_at": user.created_at.isoformat(),
        "sessions": [
            {"created_at": s.created_at.isoformat(), "last_used_at": s.last_used_at.isoformat()} for s in sessions
        ],
        "tokens": [
            {"name": t.name}
            | {
                moment: None if (value := getattr(t, moment)) is None else value.isoformat()
                for moment in ("created_at", "last_used_at", "expires_at")
            }
            for t in tokens
        ],
    }
