import random
import re
import string
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from imgcap.accounts.passwords import (
    MAX_BYTES,
    Argon2Hasher,
    check_password,
    generate_password,
    normalise_password,
)
from imgcap.errors import InputError
from imgcap.settings import Settings

FULLWIDTH_NAME_AND_DIGITS = "".join(chr(ord(letter) + 0xFEE0) for letter in "ann_smith20262026")
GUESSABLE = "common or easily guessed"


@pytest.mark.parametrize(
    "password",
    [
        "four blue ducks sing",
        "x" * 3 + "uncommon things",
        "\N{DUCK}\N{EAGLE}\N{SWAN}\N{OWL}\N{TURKEY}" * 2 + "\N{ROOSTER}\N{PENGUIN}\N{PEACOCK}\N{FLAMINGO}\N{DODO}",
        "   spaces   all   over   ",
        "все слова на другом языке",
        "nul\x00 and tab\t are fine",
        "748201936401857",
        "".join(random.Random(1).choices(string.printable, k=64)),
        "a sentence that goes on and on, up to the limit on bytes " * 17,
    ],
)
def test_any_characters_are_accepted(password):
    assert check_password(password, "ann", 15)


def test_length_is_counted_in_characters_after_normalising():
    assert check_password("é" * 2 + "thirteen more", "ann", 15)
    with pytest.raises(InputError, match="at least 15 characters"):
        check_password("e\N{COMBINING ACUTE ACCENT}" * 2 + "12 more here", "ann", 15)


@pytest.mark.parametrize("min_length", [8, 15, 64])
def test_the_least_length_is_a_setting(min_length):
    password = "".join(random.Random(1).choices(string.ascii_lowercase, k=64))  # not any: a few contain a short name
    assert check_password(password[:min_length], "ann", min_length)
    with pytest.raises(InputError, match=f"at least {min_length} characters"):
        check_password(password[: min_length - 1], "ann", min_length)


def test_the_least_length_cannot_be_set_below_8():
    assert Settings().min_password_length == 15
    with pytest.raises(ValidationError):
        Settings(min_password_length=7)


@pytest.mark.parametrize(
    "password",
    [
        "password123456789", "PasswordPassword", "passwordpassword", "football-football", "p a s s w o r d 2026",
        "aaaaaaaaaaaaaaaa", "ababababababababa", "123123123123123", "1234567890123456", "0987654321098765",
        "abcdefghijklmnop", "zyxwvutsrqponmlkj", "qwertyuiopasdfghjkl", "1qaz2wsx3edc4rfv", "Qwerty!Qwerty!Qwerty!",
        "imgcap-imgcap-imgcap", "imgcap1234567890", "IMGCAP...........", "ann_smith99999999", "Ann.Smith/Ann.Smith",
        FULLWIDTH_NAME_AND_DIGITS,
    ],
)  # fmt: skip
def test_common_and_guessable_passwords_are_refused(password):
    with pytest.raises(InputError, match=GUESSABLE):
        check_password(password, "ann_smith", 15)


WEAK = [
    "password",
    "dragon",
    "iloveyou",
    "football",
    "qwertyuiop",
    "123456789",
    "abc123",
    "ann_smith",
    "imgcap",
    "monkey",
]
HABITS = {
    "repeated": lambda word: word * 4,
    "repeated with spaces": lambda word: f"{word} " * 4,
    "there and back": lambda word: word + word[::-1] + word,
    "a year behind": lambda word: (word + "2024") * 2,
    "filled up": lambda word: word.capitalize().ljust(16, "!"),
    "digits behind": lambda word: word + "1234567890123456"[: max(2, 15 - len(word))],
    "letters as digits": lambda word: word.translate(str.maketrans("aeio", "4310")) * 3,
    "with another": lambda word: word + "sunshine" + word,
}


@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("word", WEAK)
def test_a_weak_word_is_not_saved_by_a_habit(word, habit):
    password = HABITS[habit](word).ljust(15, "1")
    with pytest.raises(InputError, match=GUESSABLE):
        check_password(password, "ann_smith", 15)


def test_three_random_words_are_accepted():
    words = ["anchor", "biscuit", "canyon", "dolphin", "engine", "feather", "glacier", "island", "kettle", "meadow"]
    for seed in range(20):
        assert check_password(" ".join(random.Random(seed).sample(words, 3)), "ann", 15)


def test_a_password_that_only_contains_a_common_one_is_accepted():
    assert check_password("my dragon eats no football", "ann", 15)


@pytest.mark.parametrize(
    ("password", "sentence"),
    [
        ("x" * (MAX_BYTES + 1), "longer than 1024 bytes"),
        ("\N{DUCK}" * (MAX_BYTES // 4 + 1), "longer than 1024 bytes"),
        ("\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}" * 100, "longer than 1024 bytes"),
        ("a lone surrogate \ud800", "not Unicode text"),
    ],
)
def test_what_cannot_be_hashed_in_time_is_refused(password, sentence):
    with pytest.raises(InputError, match=sentence):
        check_password(password, "ann", 15)


def test_a_password_is_the_same_from_every_keyboard():
    assert normalise_password("cafe\N{COMBINING ACUTE ACCENT} \N{LATIN SMALL LIGATURE FI}") == normalise_password(
        "café fi"
    )


@given(st.text(st.characters()), st.integers(8, 64))
def test_any_text_is_accepted_or_refused_in_one_sentence(password, min_length):
    try:
        outcome = check_password(password, "ann", min_length)
    except InputError as refusal:
        outcome = refusal
    if isinstance(outcome, str):
        assert len(outcome) >= min_length
    else:
        assert re.fullmatch(r"The password .*\.", str(outcome))


def test_generated_passwords_keep_the_rules_and_differ():
    passwords = {generate_password(15) for _ in range(50)}
    assert len(passwords) == 50
    assert all(check_password(password, "ann", 15) == password for password in passwords)
    assert len(generate_password(64)) == 64


def test_hashes_are_argon2id_of_at_least_owasps_parameters():
    hasher = Argon2Hasher(Settings())
    hashed = hasher.hash("four blue ducks sing")
    parameters = extract_parameters(hashed)
    assert parameters.type is Type.ID
    assert (parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (19 * 1024, 2, 1)
    assert hasher.verify(hashed, "four blue ducks sing")
    assert not hasher.verify(hashed, "four blue ducks sink")
    assert not hasher.needs_rehash(hashed)


@pytest.mark.parametrize(
    "weaker", [{"argon2_memory_kib": 19 * 1024 - 1}, {"argon2_time_cost": 1}, {"argon2_parallelism": 0}]
)
def test_weaker_parameters_cannot_be_set(weaker):
    with pytest.raises(ValidationError):
        Settings(**weaker)


def test_a_hash_of_weaker_parameters_needs_a_new_one():
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("x")
    assert Argon2Hasher(Settings()).needs_rehash(weak)


def test_no_more_hashes_than_allowed_run_at_once(monkeypatch):
    running, most, lock = 0, 0, threading.Lock()
    true_verify = PasswordHasher.verify

    def counted(self, *args):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            return true_verify(self, *args)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    hasher = Argon2Hasher(Settings(hash_concurrency=2))
    with ThreadPoolExecutor(12) as pool:
        assert not any(pool.map(lambda i: hasher.verify(hasher.decoy, str(i)), range(12)))
    assert most == 2
