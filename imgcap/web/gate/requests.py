"""Read what the app's own routes need from a request, and answer with a download."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from imgcap.accounts.tables import User

ASKER = "imgcap_asker"
"""Key in a request's scope under which the guard stores the signed-in User, or None."""


class Form(dict[str, str]):
    """The text fields of a form; a field that was not sent is empty."""

    def __missing__(self, field: str) -> str:
        return ""


async def read_form(request: Request) -> Mapping[str, str]:
    """Return the text fields of the form in a request's body."""
    return Form({name: value for name, value in (await request.form()).items() if isinstance(value, str)})


def read_number(text: str | None, otherwise: int) -> int:
    """Return `text` as a number of at most nine digits, or `otherwise` if it is not one."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else otherwise


def user_of(request: Request) -> User:
    """Return the signed-in user, without whom the guard refuses the routes that need one."""
    user: User = request.scope[ASKER]
    return user


def name_of_asker(request: Request) -> str:
    """Return the name of the signed-in user; "" if nobody is signed in."""
    user: User | None = request.scope.get(ASKER)
    return "" if user is None else user.name


def address_of(request: Request) -> str | None:
    """Return the client's address, if it is known."""
    return request.client.host if request.client else None


def root_of(request: Request) -> str:
    """Return the path under which a proxy serves the app; "" without one."""
    return str(request.scope.get("root_path", ""))


def is_secure(request: Request) -> bool:
    """Return whether the client's connection is encrypted."""
    return request.url.scheme == "https"


def download(content: bytes, name: str, media_type: str) -> Response:
    """Return a response that a browser saves as a file called `name`."""
    return Response(content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})
