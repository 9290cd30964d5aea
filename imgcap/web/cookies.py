"""Set and read the session cookie, with attributes that Gradio's own lacks, and the language cookie."""

import contextlib
import re
import secrets
from pathlib import Path

from starlette.requests import HTTPConnection
from starlette.responses import Response

from imgcap.accounts.storage import DATA_FOLDER_UNWRITABLE
from imgcap.errors import InputError
from imgcap.settings import Settings
from imgcap.web.openid import VISIT_SECONDS
from imgcap.web.texts import COOKIE as LANGUAGE_COOKIE


def read_server_id(data_dir: Path) -> str:
    """Return the id of the server with this data folder, which is made at its first start and then stored.

    Browsers send cookies to every port and path of a host. With the id in the cookie's name, signing in to one server
    does not sign a person out of another server on the same host.

    Raises:
        InputError: the data folder cannot be written to.
    """
    path = data_dir / "server-id"
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError), path.open("x", encoding="ascii") as file:
            file.write(secrets.token_hex(4))
        found = path.read_text(encoding="ascii", errors="replace")
        if not re.fullmatch(r"[0-9a-f]{8}", found):  # the disk was full, or somebody wrote into it
            found = secrets.token_hex(4)
            path.write_text(found, encoding="ascii")
    except OSError as error:
        raise InputError(DATA_FOLDER_UNWRITABLE) from error
    return found


class Cookies:
    """Sets, reads and clears the cookies of one server.

    Args:
        server_id: the result of `read_server_id`.
        settings: give the cookie's age, and say whether the page is shown in another site's frame.
    """

    def __init__(self, server_id: str, settings: Settings) -> None:
        self.id = f"imgcap-{server_id}"
        """Replaces Gradio's random `App.cookie_id`, so that sessions survive a restart."""
        self.secure_name = f"access-token-{self.id}"
        self.plain_name = f"access-token-unsecure-{self.id}"
        self.visit_name = f"visit-{self.id}"
        self._embedded = settings.embedded
        self._max_age = int(settings.session_days * 86_400)

    def session_token(self, connection: HTTPConnection) -> str | None:
        """Return the session's token from the cookies that Gradio reads; None if they have none."""
        return connection.cookies.get(self.secure_name) or connection.cookies.get(self.plain_name)

    def set_session(self, response: Response, token: str, secure: bool) -> None:
        """Keep a browser signed in.

        In another site's frame a cookie needs `SameSite=None; Secure; Partitioned` (CHIPS), or browsers that block
        third-party cookies silently drop it.
        """
        response.headers.append("set-cookie", self._session(token, secure, self._max_age))

    def clear_session(self, response: Response, secure: bool) -> None:
        """Make a browser forget the session. The attributes must be the same as when the cookie was set."""
        response.headers.append("set-cookie", self._session("", secure, 0))

    def set_language(self, response: Response, language: str, secure: bool) -> None:
        """Remember the chosen language for a year."""
        response.headers.append("set-cookie", self._header(LANGUAGE_COOKIE, language, secure, 365 * 86_400))

    def set_visit(self, response: Response, state: str, secure: bool) -> None:
        """Store the state by which a browser is recognised when it returns from an OpenID provider."""
        response.headers.append("set-cookie", self._header(self.visit_name, state, secure, VISIT_SECONDS))

    def clear_visit(self, response: Response, secure: bool) -> None:
        """Delete the state of a visit to an OpenID provider."""
        response.headers.append("set-cookie", self._header(self.visit_name, "", secure, 0))

    def _session(self, token: str, secure: bool, max_age: int) -> str:
        name = self.secure_name if self._embedded or secure else self.plain_name
        return self._header(name, token, secure, max_age)

    def _header(self, name: str, value: str, secure: bool, max_age: int) -> str:
        if self._embedded:
            attributes = "SameSite=None; Secure; Partitioned"
        else:
            attributes = "SameSite=Lax; Secure" if secure else "SameSite=Lax"
        return f"{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; {attributes}"
