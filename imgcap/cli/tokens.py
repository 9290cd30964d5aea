"""`imgcap token`: access tokens from the command line, for the person who runs the server."""

from typing import Annotated

import typer

from imgcap.cli.accounts import Name, open_accounts

token_app = typer.Typer(
    name="token", help="Make, list and revoke the access tokens of an account.", no_args_is_help=True
)

Token = Annotated[str, typer.Argument(metavar="NAME", help="The token's name.")]


@token_app.command()
def add(
    account: Name,
    name: Token,
    days: Annotated[int | None, typer.Option(help="Days after which it expires; by default never.")] = None,
) -> None:
    """Make a token and print it once."""
    from imgcap.accounts.tokens import Tokens

    with open_accounts() as (accounts, database):
        typer.echo(Tokens(database).add(accounts.get(account).id, name, days))


@token_app.command("list")
def list_tokens(account: Name) -> None:
    """Print each token's name and, after tabs, when it was made, last used, and expires (UTC, or "never")."""
    from imgcap.accounts.tokens import Tokens

    with open_accounts() as (accounts, database):
        for token in Tokens(database).list(accounts.get(account).id):
            moments = (token.created_at, token.last_used_at, token.expires_at)
            typer.echo("\t".join((token.name, *(f"{at:%Y-%m-%d %H:%M}" if at else "never" for at in moments))))


@token_app.command()
def revoke(account: Name, name: Token) -> None:
    """End a token at once."""
    from imgcap.accounts.tokens import Tokens

    with open_accounts() as (accounts, database):
        Tokens(database).revoke(accounts.get(account).id, name)
    typer.echo(f"The token {name} is revoked.")
