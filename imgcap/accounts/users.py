"""A user's name: its one form, and how to find whose it is."""

import re
import unicodedata

from sqlalchemy import select
from sqlalchemy.orm import Session

from imgcap.accounts.database import User
from imgcap.errors import InputError

# ASCII alone: names that look alike and are not (a Cyrillic a) would let one user pass for another.
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,30}[a-z0-9]")


def normalise_name(name: str) -> str:
    """The one form of a user name: NFKC, case-folded, without white space around it.

    Raises:
        InputError: it is not 3 to 32 letters a-z, digits, dots, hyphens and underscores, with a letter or digit at
            both ends.
    """
    normalised = unicodedata.normalize("NFKC", name.strip()[:100]).casefold()  # no longer one could be allowed
    if not NAME.fullmatch(normalised):
        raise InputError(
            "The name must be 3 to 32 letters a-z, digits, dots, hyphens or underscores, "
            "with a letter or a digit at both ends."
        )
    return normalised


def find_user(session: Session, name: str, *, keep: bool = False) -> User | None:
    """The user of that name, typed in whatever case; None where there is none or the name is not allowed.

    With `keep`, the account cannot be deleted before this transaction ends.
    """
    try:
        query = select(User).where(User.name == normalise_name(name))
    except InputError:
        return None
    return session.scalar(query.with_for_update(read=True) if keep else query)


def get_user(session: Session, name: str, *, keep: bool = False) -> User:
    """As `find_user`.

    Raises:
        InputError: there is no such account.
    """
    user = find_user(session, name, keep=keep)
    if user is None:
        raise InputError("There is no account of that name; check how it is written.")
    return user
