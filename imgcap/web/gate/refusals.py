"""Refuse requests in one sentence: with a page and a link back for people, and with JSON for programs."""

import re
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import URL
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from imgcap.accounts.database import DatabaseUnavailable
from imgcap.accounts.throttling import Throttled
from imgcap.errors import InputError
from imgcap.web.gate.requests import name_of_asker, root_of
from imgcap.web.intake.uploads import StorageFull
from imgcap.web.presentation.rendering import render
from imgcap.web.texts import texts_of

TITLED = {400, 401, 403, 404, 405, 408, 413, 429, 500, 503}
SIGN_IN_FIRST = (
    "Sign in first: send an access token as Authorization: Bearer, or POST username and password to /login and send "
    "its cookie."
)
USER_PAGES = re.compile(r"/|/account|/history(/\d+)?")


@dataclass(frozen=True)
class Refusal:
    """The refusal of a request: an HTTP status, and a sentence that says what is wrong and what to do."""

    status: int
    sentence: str
    retry_after: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}

    def respond(self, request: Request) -> Response:
        """Return the response to a request."""
        back, texts = place_of(request), texts_of(request)
        sentence = texts.sentence(self.sentence)
        if not wants_page(request):
            detail: dict[str, str] = {"detail": sentence}
            if self.status == 401:
                detail["sign_in"] = sign_in_link(request, "/")
            return JSONResponse(detail, self.status, self.headers)
        root = root_of(request)
        link = sign_in_link(request, back) if self.status == 401 else root + back
        html = render(
            "refusal.html",
            texts,
            root=root,
            place=page_of(request),
            user=name_of_asker(request),
            title=texts(f"refusal.{self.status if self.status in TITLED else 400}"),
            sentence=texts("refusal.sign_in") if self.status == 401 else sentence,
            link=link,
            label=texts("signin.title") if self.status == 401 else texts("refusal.back"),
        )
        return HTMLResponse(html, self.status, self.headers)


def as_refusal(error: HTTPException | InputError, otherwise: int = 400) -> Refusal:
    """Return the refusal for an error.

    Args:
        error: the exception that was raised.
        otherwise: HTTP status of other mistakes, such as 404 for the name of a thing that does not exist.
    """
    if isinstance(error, Throttled):
        return Refusal(429, str(error), error.retry_after)
    if isinstance(error, DatabaseUnavailable | StorageFull):
        return Refusal(503, str(error), 60)
    if isinstance(error, InputError):
        return Refusal(otherwise, str(error))
    retry_after = (error.headers or {}).get("Retry-After", "")
    return Refusal(error.status_code, str(error.detail), int(retry_after) if retry_after.isdigit() else None)


def wants_page(request: Request) -> bool:
    """Return whether a person's browser will show the answer as a page."""
    mode = request.headers.get("sec-fetch-mode")
    return mode == "navigate" if mode is not None else "text/html" in request.headers.get("accept", "")


def place_of(request: Request) -> str:
    """Return the page that a request came from or belongs to."""
    path = str(request.scope["path"])
    return next((page for page in ("/account", "/history") if path.startswith(page)), "/")


def page_of(request: Request) -> str:
    """Return the path and query of the page that a request asked for."""
    query = str(request.url.query)
    return str(request.scope["path"]) + (f"?{query}" if query else "")


def sign_in_link(request: Request, place: str) -> str:
    """Return the address of the sign-in page that leads back to `place`.

    The query is kept, because a Space's frame needs it.
    """
    query = [(name, value) for name, value in request.query_params.multi_items() if name != "next"]
    if place != "/":
        query = [("next", place)]
    return f"{root_of(request)}/login" + (f"?{urlencode(query)}" if query else "")


def safe_place(place: str, pages: re.Pattern[str] = USER_PAGES) -> str:
    """Return `place` if it is one of the allowed pages of this server, by default a user's pages, and otherwise "/"."""
    if not place.isprintable() or "\\" in place:
        return "/"
    try:
        parts = urlsplit(place)
    except ValueError:
        return "/"
    if parts.scheme or parts.netloc or not pages.fullmatch(parts.path):
        return "/"
    return str(URL(path=parts.path, query=parts.query))
