import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgcap.accounts.users import find_user, get_user, normalise_name
from imgcap.errors import InputError


@pytest.mark.parametrize(
    ("typed", "normal"),
    [
        ("ann", "ann"),
        ("  Ann ", "ann"),
        ("ANN_Smith-2.x", "ann_smith-2.x"),
        ("\N{FULLWIDTH LATIN CAPITAL LETTER A}nn", "ann"),
        ("\N{KELVIN SIGN}arl", "karl"),
        ("stra\N{LATIN SMALL LETTER SHARP S}e", "strasse"),
        ("a" * 32, "a" * 32),
    ],
)
def test_a_name_has_one_form(typed, normal):
    assert normalise_name(typed) == normal


@pytest.mark.parametrize(
    "typed",
    ["", "  ", "ab", "a" * 33, "ann smith", "-ann", "ann.", "\N{CYRILLIC SMALL LETTER A}nn", "ann\x00", "ann\nx",
     "<b>x</b>", "a@b.c", "../../etc", "\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}" * 50, "a" * 10_000_000],
)  # fmt: skip
def test_another_name_is_refused_in_one_sentence(typed):
    with pytest.raises(InputError, match=r"^The name must be 3 to 32 .*\.$"):
        normalise_name(typed)


@given(st.text(max_size=40) | st.from_regex(r"[A-Za-z0-9._\-]{1,40}", fullmatch=True))
def test_any_text_is_refused_or_has_one_form_whatever_its_case(typed):
    try:
        normal = normalise_name(typed)
    except InputError:
        return
    assert normal.isascii()
    assert 3 <= len(normal) <= 32
    spellings = (normal, normal.upper(), typed.casefold(), unicodedata.normalize("NFD", typed))
    assert {normalise_name(spelling) for spelling in spellings} == {normal}


def test_an_account_is_found_in_whatever_case(accounts, database):
    accounts.create("Ann", "four blue ducks sing")
    with database.session(read_only=True) as session:
        assert get_user(session, "ANN").name == "ann"
        assert find_user(session, "ben") is None
        assert find_user(session, "not a name") is None
        with pytest.raises(InputError, match="no account"):
            get_user(session, "ben")
