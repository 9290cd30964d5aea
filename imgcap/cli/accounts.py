"""`python -m imgcap user ...`: accounts from the command line, for whoever runs the server."""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from imgcap.accounts.accounts import Accounts
from imgcap.accounts.database import back_up, open_database
from imgcap.accounts.passwords import generate_password
from imgcap.errors import InputError
from imgcap.settings import Settings, get_settings

user_app = typer.Typer(
    name="user", help="Add, list and remove accounts, and reset their passwords.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="The account's name.")]


@user_app.command()
def add(
    name: Name,
    generate: Annotated[bool, typer.Option(help="Make a random password and print it, once.")] = False,
) -> None:
    """Make an account, whether registration is open or closed.

    The password is asked for, or read as the first line of standard input where that is no terminal.
    """
    with _accounts() as (accounts, settings):
        password = generate_password(settings.min_password_length) if generate else _read_password()
        user = accounts.create(name, password)
        typer.echo(password if generate else f"Account {user.name} is made.")


@user_app.command()
def reset_password(name: Name) -> None:
    """Give an account a random password, print it once, and end the account's sessions."""
    with _accounts() as (accounts, _):
        typer.echo(accounts.reset_password(name))


@user_app.command()
def remove(name: Name, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete an account with its sessions and its history."""
    with _accounts() as (accounts, _):
        user = accounts.get(name)
        if not yes:
            typer.confirm(f"Delete {user.name} and everything of it?", abort=True)
        accounts.delete(user.id)
        typer.echo(f"Account {user.name} is deleted.")


@user_app.command("list")
def list_users() -> None:
    """Print every account's name and when it was made (UTC), a tab between."""
    with _accounts() as (accounts, _):
        for user in accounts.list():
            typer.echo(f"{user.name}\t{user.created_at:%Y-%m-%d %H:%M}")


@user_app.command()
def backup(file: Annotated[Path, typer.Argument(help="The new file.")]) -> None:
    """Copy the SQLite database, also while the app runs, to a new file that only you may read."""
    with _one_sentence():
        back_up(get_settings(), file)
    typer.echo(f"The database is copied to {file}.")


@contextmanager
def _accounts() -> Iterator[tuple[Accounts, Settings]]:
    """Open the accounts that the settings name."""
    settings = get_settings()
    with _one_sentence(), closing(open_database(settings)) as database:
        yield Accounts(database, settings), settings


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
