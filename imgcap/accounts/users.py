"""Normalise user names and find their users.

Another person can register the name of a deleted account, but ids are never reused. Therefore everything that belongs
to an account refers to its id, and names only serve for signing in and for display.
"""

import re
import unicodedata

from sqlalchemy import select
from sqlalchemy.orm import Session

from imgcap.accounts.tables import User
from imgcap.errors import InputError

# ASCII only, because look-alike letters (such as a Cyrillic a) would let one user pass for another.
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,30}[a-z0-9]")


def normalise_name(name: str) -> str:
    """Return the normal form of a user name: NFKC, case-folded, without surrounding white space.

    Raises:
        InputError: the name is not 3 to 32 letters a-z, digits, dots, hyphens and underscores, with a letter or digit
            at both ends.
    """
    normalised = unicodedata.normalize("NFKC", name.strip()[:100]).casefold()  # a longer one is never allowed
    if not NAME.fullmatch(normalised):
        raise InputError(
            "The name must be 3 to 32 letters a-z, digits, dots, hyphens or underscores, "
            "with a letter or a digit at both ends."
        )
    return normalised


def find_user(session: Session, name: str) -> User | None:
    """Return the user of that name in any case, or None if nobody has it or the name is not allowed."""
    try:
        return session.scalar(select(User).where(User.name == normalise_name(name)))
    except InputError:
        return None


def check_exists(session: Session, user_id: int) -> None:
    """Raise InputError unless an account exists, and keep it from being deleted before this transaction ends.

    Raises:
        InputError: there is no such account.
    """
    if session.scalar(select(User.id).where(User.id == user_id).with_for_update(read=True)) is None:
        raise InputError("There is no such account; it may have been deleted.")


def get_user(session: Session, name: str) -> User:
    """Return the user of that name, as `find_user` does.

    Raises:
        InputError: there is no such account.
    """
    user = find_user(session, name)
    if user is None:
        raise InputError("There is no account of that name; check how it is written.")
    return user
