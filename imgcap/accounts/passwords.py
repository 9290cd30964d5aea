"""Password rules (NIST SP 800-63B-4, section 3.1.1.2) and hashes (Argon2id).

A password has a minimum length, is not common or guessable, and may contain any characters.
"""

import math
import re
import secrets
import threading
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from imgcap.errors import InputError
from imgcap.settings import Settings

MAX_BYTES = 1024
"""Maximum length of a password in bytes of UTF-8, so that nobody can make the server normalise and hash megabytes."""

GUESSABLE = 10**10
"""A password that needs fewer guesses is refused; zxcvbn calls more "very unguessable"."""

GUESSABLE_JOINED = 10**6
"""The same limit without spaces and punctuation, where three random words need about 10**8 guesses."""

ESTIMATED_CHARACTERS = 72
"""zxcvbn's limit. Only this many characters are judged, since more only make a password stronger."""

# No spaces, and no characters that are easily confused when read from a screen.
GENERATED_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
GENERATED_BITS = 100


class PasswordError(InputError):
    """A password that is not accepted, so that a form can show which of its fields is wrong."""


def normalise_password(password: str) -> str:
    """Return the password in NFKC, as SP 800-63B-4 advises, so that it is the same from every keyboard.

    Raises:
        PasswordError: the password is longer than `MAX_BYTES`, or cannot be encoded as UTF-8.
    """
    too_long = f"The password is longer than {MAX_BYTES} bytes; choose a shorter one."
    if len(password) > MAX_BYTES:
        raise PasswordError(too_long)
    try:
        normalised = unicodedata.normalize("NFKC", password)
        size = len(normalised.encode())
    except UnicodeEncodeError as error:
        raise PasswordError("The password has a character that is not Unicode text; choose another.") from error
    if size > MAX_BYTES:
        raise PasswordError(too_long)
    return normalised


def check_password(password: str, name: str, min_length: int) -> str:
    """Check a new password against the rules and return it normalised.

    Args:
        password: the password as typed.
        name: the account's normalised name, which is easy to guess.
        min_length: minimum number of Unicode characters.

    Raises:
        PasswordError: the password breaks a rule; the message says which.
    """
    normalised = normalise_password(password)
    if len(normalised) < min_length:
        raise PasswordError(f"The password is too short; use at least {min_length} characters, such as a few words.")
    if _is_guessable(normalised, name, min_length):
        raise PasswordError(
            "The password is a common or easily guessed one; choose another, such as a few random words."
        )
    return normalised


def _is_guessable(password: str, name: str, min_length: int) -> bool:
    """Return whether an attacker who knows words, names, leaked passwords and habits needs few guesses.

    The estimate is zxcvbn's (Wheeler, USENIX Security 2016). Unlike a list, it knows repetitions, sequences, keyboard
    runs, dates, digits for letters, and combinations of them with common words. A random password of `min_length`
    characters passes unless it happens to contain a word, because zxcvbn counts 10 guesses for each other character.
    """
    known = [name, *re.split(r"[._-]", name), "imgcap"]
    joined = re.sub(r"[\s._/-]+", "", password)
    return _guesses(password, known) < min(GUESSABLE, 10**min_length) or _guesses(joined, known) < GUESSABLE_JOINED


def _guesses(password: str, known: list[str]) -> int:
    from zxcvbn import zxcvbn  # its lists of words take 12 MB, and most servers' days pass without a new password

    return int(zxcvbn(password[:ESTIMATED_CHARACTERS], user_inputs=known)["guesses"])


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
        """A hash of a random password, which is verified if no account has the name."""

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
        """Return whether the hash was made with parameters other than the current ones."""
        return self._argon2.check_needs_rehash(password_hash)
