"""Password rules (NIST SP 800-63B-4, section 3.1.1.2) and hashes (Argon2id).

A password has a minimum length, is not common or guessable, and may contain any characters.
"""

import gzip
import math
import secrets
import string
import threading
import unicodedata
from functools import lru_cache
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from imgcap.errors import InputError
from imgcap.settings import Settings

COMMON_PASSWORDS = Path(__file__).with_name("common-passwords.txt.gz")
"""Django's list of 19,640 common passwords, by Royce Williams; see common-passwords.LICENSE."""

MAX_BYTES = 1024
"""Longest password, in bytes of UTF-8, so that nobody can make the server normalise and hash megabytes."""

MIN_UNIT = 4
"""Any shorter unit, repeated (aaa..., abab..., 123123...), is easily guessed."""

RUNS = (
    string.ascii_lowercase,
    string.digits,
    "1234567890",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "qwertyuiopasdfghjklzxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "qwertzuiopasdfghjklyxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
)
# No spaces, and no characters that are easily confused when read from a screen.
GENERATED_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
GENERATED_BITS = 100


def normalise_password(password: str) -> str:
    """Return the password in NFKC, as SP 800-63B-4 advises, so that it is the same from every keyboard.

    Raises:
        InputError: it is longer than `MAX_BYTES`, or cannot be encoded as UTF-8.
    """
    too_long = f"The password is longer than {MAX_BYTES} bytes; choose a shorter one."
    if len(password) > MAX_BYTES:
        raise InputError(too_long)
    try:
        normalised = unicodedata.normalize("NFKC", password)
        size = len(normalised.encode())
    except UnicodeEncodeError as error:
        raise InputError("The password has a character that is not Unicode text; choose another.") from error
    if size > MAX_BYTES:
        raise InputError(too_long)
    return normalised


def check_password(password: str, name: str, min_length: int) -> str:
    """Check a new password against the rules and return it normalised.

    Args:
        password: as typed.
        name: the account's normalised name, which the password must not consist of.
        min_length: least number of Unicode characters.

    Raises:
        InputError: the password breaks a rule; the message says which.
    """
    normalised = normalise_password(password)
    if len(normalised) < min_length:
        raise InputError(f"The password is too short; use at least {min_length} characters, such as a few words.")
    if _is_guessable(normalised.casefold(), name):
        raise InputError("The password is a common or easily guessed one; choose another, such as a few random words.")
    return normalised


def _is_guessable(folded: str, name: str) -> bool:
    """Whether a case-folded password is common, this account's or this app's name, one unit repeated, or a run of keys.

    Digits at the ends, spaces and punctuation are ignored (`imgcap-2024!!!!!`), since they add little.
    """
    core = _core(folded)
    unit = _repeated_unit(folded)
    forms = {folded, core, unit, _repeated_unit(core)} - {""}
    return (
        len(unit) < MIN_UNIT
        or not forms.isdisjoint({name, _core(name), "imgcap"})
        or not forms.isdisjoint(common_passwords())
        or any(_follows(folded, run) for run in RUNS)
    )


def _core(text: str) -> str:
    return "".join(filter(str.isalnum, text)).strip(string.digits)


def _repeated_unit(text: str) -> str:
    """Return the shortest unit that `text` repeats, the last one perhaps cut: `abc` for `abcabcab`."""
    return next(
        (text[:n] for n in range(1, len(text)) if text[:n] * (len(text) // n) + text[: len(text) % n] == text), text
    )


def _follows(text: str, run: str) -> bool:
    """Return whether `text` follows `run` forwards or backwards, from any start and around its end."""
    return any(text in direction * (len(text) // len(run) + 2) for direction in (run, run[::-1]))


@lru_cache(maxsize=1)
def common_passwords() -> frozenset[str]:
    """Return the block list, in lower case."""
    with gzip.open(COMMON_PASSWORDS, "rt", encoding="utf-8") as lines:
        return frozenset(line.strip().casefold() for line in lines)


def generate_password(min_length: int) -> str:
    """Return a random password of at least 100 bits and `min_length` characters."""
    length = max(min_length, math.ceil(GENERATED_BITS / math.log2(len(GENERATED_ALPHABET))))
    return "".join(secrets.choice(GENERATED_ALPHABET) for _ in range(length))


class Argon2Hasher:
    """Argon2id, computing at most `settings.hash_concurrency` hashes at once."""

    def __init__(self, settings: Settings) -> None:
        self._argon2 = PasswordHasher(
            time_cost=settings.argon2_time_cost,
            memory_cost=settings.argon2_memory_kib,
            parallelism=settings.argon2_parallelism,
        )
        self._slots = threading.BoundedSemaphore(settings.hash_concurrency)
        self.decoy = self.hash(secrets.token_hex())
        """A hash of a random password, to verify against when there is no account."""

    def hash(self, password: str) -> str:
        """Return the PHC string of a normalised password."""
        with self._slots:
            return self._argon2.hash(password)

    def verify(self, password_hash: str, password: str) -> bool:
        """Return whether a normalised password is the one that was hashed."""
        with self._slots:
            try:
                return self._argon2.verify(password_hash, password)
            except VerifyMismatchError:
                return False

    def needs_rehash(self, password_hash: str) -> bool:
        """Return whether the hash was made with other parameters than the present ones."""
        return self._argon2.check_needs_rehash(password_hash)
