import pytest
from typer.testing import CliRunner

from imgcap.accounts.accounts import Accounts
from imgcap.accounts.database import open_database
from imgcap.accounts.tokens import Tokens
from imgcap.cli.tokens import token_app
from imgcap.settings import get_settings


@pytest.fixture
def tokens(tmp_path, monkeypatch):
    monkeypatch.setenv("IMGCAP_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("IMGCAP_DATABASE_URL", "")
    get_settings.cache_clear()
    database = open_database(get_settings())
    accounts = Accounts(database, get_settings())
    accounts.create("ann", "four blue ducks sing")
    yield Tokens(database)
    accounts.close()
    database.close()
    get_settings.cache_clear()


def token(*args):
    return CliRunner().invoke(token_app, args)


def test_a_token_is_printed_once_listed_and_revoked(tokens):
    made = token("add", "Ann", "my agent", "--days", "30").stdout.strip()
    assert tokens.find(made).name == "ann"
    name, created, used, expires = token("list", "ann").stdout.strip().split("\t")
    assert (name, created[:2], used[:2], expires[:2]) == ("my agent", "20", "20", "20")
    token("add", "ann", "other")
    assert token("list", "ann").stdout.splitlines()[0].split("\t")[2:] == ["never", "never"]
    assert "my agent is revoked" in token("revoke", "ann", "my agent").stdout
    assert tokens.find(made) is None
    assert made not in token("list", "ann").stdout


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("add", "nobody", "agent"), "There is no account"),
        (("add", "ann", " "), "needs a name"),
        (("add", "ann", "agent", "--days", "0"), "expires after"),
        (("list", "nobody"), "There is no account"),
        (("revoke", "ann", "agent"), "There is no token"),
    ],
)
def test_a_mistake_is_one_line_and_status_1(tokens, args, sentence):
    result = token(*args)
    assert (result.exit_code, result.stdout) == (1, "")
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1
