from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from imgcap.accounts.database import DatabaseUnavailable
from imgcap.accounts.tokens import MAX_DAYS, MAX_NAME, MAX_TOKENS, PREFIX, Tokens
from imgcap.errors import InputError

PASSWORD = "four blue ducks sing"
ANN, BEN = 1, 2


class Clock:
    now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tokens(database, accounts, clock):
    assert [accounts.create(name, PASSWORD).id for name in ("ann", "ben")] == [ANN, BEN]
    return Tokens(database, clock)


def test_a_token_is_its_makers_until_it_is_revoked(tokens, clock):
    token = tokens.add(ANN, "  my \n agent ")
    other = tokens.add(BEN, "my agent")
    assert token.startswith(PREFIX)
    assert len(token) >= len(PREFIX) + 43
    assert tokens.find(token).id == ANN
    assert tokens.find(other).id == BEN
    (kept,) = tokens.list(ANN)
    assert (kept.name, kept.created_at, kept.last_used_at, kept.expires_at) == ("my agent", clock.now, clock.now, None)
    for nobody in ("", PREFIX, token[:-1], token + "x", token.upper(), "\0", "é"):
        assert tokens.find(nobody) is None
    tokens.revoke(ANN, "my agent")
    assert tokens.find(token) is None
    assert tokens.find(other).id == BEN
    with pytest.raises(InputError, match="no token of that name"):
        tokens.revoke(ANN, "my agent")


def test_a_token_expires_and_its_name_is_free_again(tokens, clock):
    token = tokens.add(ANN, "agent", days=30)
    clock.now += timedelta(days=30, seconds=-1)
    assert tokens.find(token)
    clock.now += timedelta(seconds=1)
    assert tokens.find(token) is None
    assert [kept.name for kept in tokens.list(ANN)] == ["agent"]  # shown as expired
    assert tokens.find(tokens.add(ANN, "agent")).id == ANN
    assert len(tokens.list(ANN)) == 1


def test_the_database_holds_no_token_and_not_even_its_hash_opens_anything(tokens, database):
    token = tokens.add(ANN, "agent")
    with database.session(read_only=True) as session:
        (row,) = session.execute(text("SELECT * FROM tokens")).all()
        assert token not in str(row)
        assert token.removeprefix(PREFIX) not in str(row)
        assert tokens.find(row.token_hash) is None


def test_the_last_use_is_noted_once_a_minute_and_only_if_it_can_be(tokens, clock, monkeypatch):
    token = tokens.add(ANN, "agent")
    noted = []
    touch = tokens._touch
    monkeypatch.setattr(tokens, "_touch", lambda *use: (noted.append(clock.now), touch(*use)))
    for seconds in (0, 30, 59, 61):
        clock.now = Clock.now + timedelta(seconds=seconds)
        assert tokens.find(token)
    assert noted == [Clock.now, Clock.now + timedelta(seconds=61)]

    def fail(*_):
        raise DatabaseUnavailable("locked")

    monkeypatch.setattr(tokens, "_touch", fail)
    clock.now += timedelta(hours=1)
    assert tokens.find(token).id == ANN


def test_what_is_no_token_is_refused_in_a_sentence(tokens):
    tokens.add(ANN, "taken")
    for name, days, sentence in [
        ("", None, "needs a name"),
        (" \n", None, "needs a name"),
        ("x" * (MAX_NAME + 1), None, "at most"),
        ("a\0b", None, "at most"),
        ("a\ud800", None, "at most"),
        ("taken", None, "of that name"),
        ("agent", 0, "expires after"),
        ("agent", -1, "expires after"),
        ("agent", MAX_DAYS + 1, "expires after"),
    ]:
        with pytest.raises(InputError, match=sentence):
            tokens.add(ANN, name, days)
    assert len(tokens.list(ANN)) == 1


def test_an_account_has_so_many_tokens_and_no_more(tokens):
    for number in range(MAX_TOKENS):
        tokens.add(ANN, f"agent {number}")
    with pytest.raises(InputError, match="at most 20 tokens"):
        tokens.add(ANN, "one more")
    assert tokens.add(BEN, "agent")
    with pytest.raises(InputError, match="no such account"):
        tokens.add(99, "agent")


def test_tokens_end_with_the_account_and_with_its_password(tokens, accounts):
    made = {user: tokens.add(user, "agent") for user in (ANN, BEN)}
    accounts.change_password(accounts.get("ann"), PASSWORD, "five green geese hum")
    assert tokens.find(made[ANN]) is None
    again = tokens.add(ANN, "agent")
    accounts.reset_password("ann")
    assert tokens.find(again) is None
    last = tokens.add(ANN, "agent")
    accounts.delete(ANN)
    newcomer = accounts.create("ann", PASSWORD)
    assert tokens.find(last) is None
    assert tokens.list(newcomer.id) == []
    assert tokens.find(made[BEN]).id == BEN
