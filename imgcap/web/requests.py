"""What every route of our own reads from a request, and how it sends a file to be kept."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from imgcap.accounts.database import User
from imgcap.web.guard import ASKER


class Form(dict[str, str]):
    """The text fields of a form; a field that was not sent is empty."""

    def __missing__(self, field: str) -> str:
        return ""


async def read_form(request: Request) -> Mapping[str, str]:
    """Return the text fields of the form in a request's body."""
    return Form({name: value for name, value in (await request.form()).items() if isinstance(value, str)})


def read_number(text: str | None, otherwise: int) -> int:
    """Return the number that `text` is, of at most nine digits, else `otherwise`."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else otherwise


def user_of(request: Request) -> User:
    """Return who is signed in: the guard lets nobody else through to the routes that need a user."""
    user: User = request.scope[ASKER]
    return user


def address_of(request: Request) -> str | None:
    """Return the client's address, if it is known."""
    return request.client.host if request.client else None


def download(content: bytes, name: str, media_type: str) -> Response:
    """Return an answer that a browser saves under `name`."""
    return Response(content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})
