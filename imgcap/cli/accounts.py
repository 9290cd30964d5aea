"""`imgcap user`: accounts from the command line, for the person who runs the server."""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgcap.errors import InputError

if TYPE_CHECKING:
    from imgcap.accounts.accounts import Accounts
    from imgcap.accounts.database import Database

user_app = typer.Typer(
    name="user", help="Add, list and remove accounts, and reset their passwords.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's name.")]


@user_app.command()
def add(
    name: Name,
    generate: Annotated[bool, typer.Option(help="Make a random password and print it once.")] = False,
) -> None:
    """Make an account, whether registration is open or closed.

    The command asks for the password, or reads the first line of standard input if that is not a terminal.
    """
    from imgcap.accounts.passwords import generate_password
    from imgcap.settings import get_settings

    with open_accounts() as (accounts, _):
        password = generate_password(get_settings().min_password_length) if generate else _read_password()
        user = accounts.create(name, password)
        typer.echo(password if generate else f"The account {user.name} is made.")


@user_app.command()
def reset_password(name: Name) -> None:
    """Give an account a random password, print it once, and end the account's sessions."""
    with open_accounts() as (accounts, _):
        typer.echo(accounts.reset_password(name))


@user_app.command()
def remove(name: Name, yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False) -> None:
    """Delete an account with its sessions and its history."""
    with open_accounts() as (accounts, _):
        user = accounts.get(name)
        if not yes:
            typer.confirm(f"Delete the account {user.name} with its sessions and its history?", abort=True)
        accounts.delete(user.id)
        typer.echo(f"The account {user.name} is deleted.")


@user_app.command("list")
def list_users() -> None:
    """Print the name of each account, a tab, and when it was made (UTC)."""
    with open_accounts() as (accounts, _):
        for user in accounts.list():
            typer.echo(f"{user.name}\t{user.created_at:%Y-%m-%d %H:%M}")


@user_app.command()
def backup(file: Annotated[Path, typer.Argument(metavar="FILE", help="The new file.")]) -> None:
    """Copy the SQLite database, also while the app runs, to a new file that only you may read."""
    from imgcap.accounts.backup import back_up
    from imgcap.settings import get_settings

    with _one_sentence():
        back_up(get_settings(), file)
    typer.echo(f"The database is copied to {file}.")


@contextmanager
def open_accounts() -> Iterator[tuple["Accounts", "Database"]]:
    """Open the accounts of the configured database; print a user's mistake as one line and exit with status 1."""
    from imgcap.accounts.accounts import Accounts
    from imgcap.accounts.database import open_database
    from imgcap.settings import get_settings

    settings = get_settings()
    with _one_sentence(), closing(open_database(settings)) as database:
        yield Accounts(database, settings), database


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Print a user's mistake as one line on standard error and exit with status 1."""
    try:
        yield
    except InputError as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from error


def _read_password() -> str:
    if sys.stdin.isatty():
        password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        return password
    return sys.stdin.readline().rstrip("\r\n")
