import os
import pty
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imgcap.accounts.accounts import Accounts
from imgcap.accounts.database import open_database
from imgcap.cli.accounts import user_app
from imgcap.settings import get_settings

PASSWORD = "four blue ducks sing"


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("IMGCAP_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("IMGCAP_DATABASE_URL", "")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture
def accounts():
    database = open_database(get_settings())
    accounts = Accounts(database, get_settings())
    yield accounts
    accounts.close()
    database.close()


def user(*args, stdin=""):
    return CliRunner().invoke(user_app, args, input=stdin)


def test_add_reads_the_password_from_standard_input(accounts):
    result = user("add", "Ann", stdin=PASSWORD + "\n")
    assert (result.exit_code, result.stdout) == (0, "The account ann is made.\n")
    assert accounts.verify("ann", PASSWORD)


def test_add_asks_twice_on_a_terminal_and_shows_nothing(accounts):
    """In a true terminal, which echoes what is typed unless the command turns that off."""
    script = "from imgcap.cli.accounts import user_app; user_app()"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "dumb"}
    process, terminal = pty.fork()
    if process == 0:
        os.execve(sys.executable, [sys.executable, "-c", script, "add", "ann"], environment)
    shown = b""
    for prompt in (b"Password: ", b"confirmation: "):  # the space is shown once the echo is off
        while prompt not in shown:
            shown += os.read(terminal, 1000)
        os.write(terminal, f"{PASSWORD}\n".encode())
    while b"is made" not in shown:
        shown += os.read(terminal, 1000)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    os.close(terminal)
    assert PASSWORD.encode() not in shown
    assert accounts.verify("ann", PASSWORD)


def test_add_works_while_registration_is_closed(accounts, monkeypatch):
    monkeypatch.setenv("IMGCAP_OPEN_REGISTRATION", "0")
    get_settings.cache_clear()
    assert user("add", "ann", stdin=PASSWORD).exit_code == 0
    assert accounts.verify("ann", PASSWORD)


def test_a_generated_password_is_printed_and_works(accounts):
    result = user("add", "ann", "--generate")
    assert result.exit_code == 0
    assert accounts.verify("ann", result.stdout.strip())


def test_reset_password_prints_one_that_works(accounts):
    accounts.create("ann", PASSWORD)
    result = user("reset-password", "Ann")
    assert accounts.verify("ann", PASSWORD) is None
    assert accounts.verify("ann", result.stdout.strip())


def test_remove_asks_first(accounts):
    accounts.create("ann", PASSWORD)
    assert user("remove", "ann", stdin="n\n").exit_code == 1
    assert accounts.verify("ann", PASSWORD)
    result = user("remove", "Ann", stdin="y\n")
    assert result.exit_code == 0
    assert "The account ann is deleted." in result.stdout
    assert accounts.list() == []


def test_remove_need_not_ask(accounts):
    accounts.create("ann", PASSWORD)
    assert user("remove", "ann", "--yes").exit_code == 0
    assert accounts.list() == []


def test_list_prints_names_and_dates(accounts):
    for name in ("ben", "ann"):
        accounts.create(name, PASSWORD)
    lines = user("list").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["ann", "ben"]
    assert lines[0].split("\t")[1] == f"{accounts.get('ann').created_at:%Y-%m-%d %H:%M}"


@pytest.mark.parametrize(
    ("args", "stdin", "sentence"),
    [
        (("add", "a b"), PASSWORD, "The name must be"),
        (("add", "ann"), "short", "at least 15 characters"),
        (("add", "ann"), "", "at least 15 characters"),
        (("reset-password", "nobody"), "", "There is no account"),
        (("remove", "nobody", "--yes"), "", "There is no account"),
    ],
)
def test_a_mistake_is_one_line_and_status_1(args, stdin, sentence):
    result = user(*args, stdin=stdin)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_password_cannot_be_an_argument():
    assert user("add", "ann", PASSWORD).exit_code == 2
    assert user("add", "ann", "--password", PASSWORD).exit_code == 2
