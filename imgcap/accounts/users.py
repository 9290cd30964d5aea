"""Normalise user names and find their users."""

import re
import unicodedata

from sqlalchemy import select
from sqlalchemy.orm import Session

from imgcap.accounts.database import User
from imgcap.errors import InputError

# ASCII only: a name that looks like another (with a Cyrillic a) would let one user pass for another.
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


def find_user(session: Session, name: str, *, keep: bool = False) -> User | None:
    """Return the user of that name in any case, or None if nobody has it or it is not allowed.

    With `keep`, the account cannot be deleted before this transaction ends.
    """
    try:
        query = select(User).where(User.name == normalise_name(name))
    except InputError:
        return None
    return session.scalar(query.with_for_update(read=True) if keep else query)


def get_user(session: Session, name: str, *, keep: bool = False) -> User:
    """Return the user of that name, as `find_user` does.

    Raises:
        InputError: there is no such account.
    """
    user = find_user(session, name, keep=keep)
    if user is None:
        raise InputError("There is no account of that name; check how it is written.")
    return user
