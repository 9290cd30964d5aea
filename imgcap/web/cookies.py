"""The session cookie: the one that Gradio reads, with the attributes that its own lacks."""

from http.cookies import SimpleCookie

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response

from imgcap.settings import Settings

COOKIE_ID = "imgcap"
"""Takes the place of Gradio's random `App.cookie_id`, so that sessions survive a restart."""
SECURE_NAME = f"access-token-{COOKIE_ID}"
PLAIN_NAME = f"access-token-unsecure-{COOKIE_ID}"


def session_token(connection: HTTPConnection) -> str | None:
    """The session's token as the request gives it, looked for where Gradio looks."""
    return connection.cookies.get(SECURE_NAME) or connection.cookies.get(PLAIN_NAME)


def set_session(response: Response, token: str, secure: bool, settings: Settings) -> None:
    """Keep a browser signed in.

    In another site's frame a cookie needs `SameSite=None; Secure; Partitioned` (CHIPS), or browsers that block
    third-party cookies drop it without a word.
    """
    response.headers.append("set-cookie", _header(token, secure, settings, int(settings.session_days * 86_400)))


def clear_session(response: Response, secure: bool, settings: Settings) -> None:
    """Make a browser forget the session. The attributes have to be those that the cookie was set with."""
    response.headers.append("set-cookie", _header("", secure, settings, 0))


def replace_gradio_cookies(headers: MutableHeaders, secure: bool, settings: Settings) -> None:
    """Put ours in the place of the two cookies with which Gradio answers a sign-in."""
    cookies = headers.getlist("set-cookie")
    tokens = [morsel.value for cookie in cookies for morsel in SimpleCookie(cookie).values()]
    del headers["set-cookie"]
    if tokens:
        headers.append("set-cookie", _header(tokens[0], secure, settings, int(settings.session_days * 86_400)))


def _header(token: str, secure: bool, settings: Settings, max_age: int) -> str:
    if settings.embedded:
        name, attributes = SECURE_NAME, "SameSite=None; Secure; Partitioned"
    elif secure:
        name, attributes = SECURE_NAME, "SameSite=Lax; Secure"
    else:
        name, attributes = PLAIN_NAME, "SameSite=Lax"
    return f"{name}={token}; Path=/; Max-Age={max_age}; HttpOnly; {attributes}"
