"""The guard before every request: what is not on its lists is not there.

Gradio 6.31 answers strangers on some routes and other sites' pages on all; this middleware answers neither. It knows
every route by name, so that one which a later Gradio adds stays shut until somebody has looked at it.
"""

import json
import re
from contextvars import ContextVar
from typing import Literal
from urllib.parse import urlencode, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imgcap.accounts.throttling import Throttled
from imgcap.web.cookies import replace_gradio_cookies, session_token
from imgcap.web.services import Services
from imgcap.web.uploads import Reservation, StorageFull

Access = Literal["public", "signed-in", "none"]

STATIC = re.compile(
    r"/(assets|static|svelte|pages)/.+|/favicon\.ico|/robots\.txt|/manifest\.json|(/gradio_api)?/theme\.css"
)
PAGES = re.compile(r"/|/login/?|/login/register|/privacy|/account|/history|/logout")
"""What a person may arrive at from another site, by a link or in a frame."""
OWN_PAGES = re.compile(r"/(login|privacy|account|history|logout)\b.*")
"""Our pages without JavaScript; the rest is Gradio's."""
ENDPOINT = r"/gradio_api/call/(?:v2/)?(caption|check)"
PUBLIC = {
    "GET": re.compile(STATIC.pattern + r"|/login/?|/login/register|/privacy|/gradio_api/healthz"),
    "POST": re.compile(r"/login/?|/login/form|/login/register"),
}
SIGNED_IN = {
    "GET": re.compile(
        r"/|/config/?|/account(/data)?|/history(\.csv|/\d+\.jpg)?|/logout"
        r"|/gradio_api/(info/?|openapi\.json|user/?|login_check/?|app_id/?|heartbeat/[^/]+|queue/data|queue/status"
        r"|upload_progress|file=.+)|" + ENDPOINT + r"/[^/]+"
    ),
    "POST": re.compile(
        r"/account/(password|delete)|/history/delete|/logout|/gradio_api/(upload|queue/join|cancel|reset/?)|"
        + ENDPOINT
        + "/?"
    ),
}
BEGINS_WORK = re.compile(r"/gradio_api/(upload|queue/join)|" + ENDPOINT + "/?")
STREAMS_WORK = re.compile(r"/gradio_api/queue/data|" + ENDPOINT + r"/[^/]+")
LAUNCH = re.compile(r"/|/gradio_api/startup-events")
"""What `Blocks.launch` asks of its own server before it returns."""

FORM_BYTES, JSON_BYTES, MULTIPART_OVERHEAD = 2**16, 2**20, 2**16
GRADIO_CSP = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'"
)
OWN_CSP = "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'"

client_address: ContextVar[str | None] = ContextVar("client_address", default=None)
"""The address of the client being answered, for Gradio's `auth` function, which is told only name and password."""


class Guard:
    """ASGI middleware; the innermost around Gradio's routes and ours."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self.app = app
        self.services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(Request(scope, receive), send)

    async def _answer(self, request: Request, send: Send) -> None:
        send = self._with_headers(request, send)
        user = await self._user(request)
        refusal = await self._refusal(request, user)
        if refusal is not None:
            await refusal(request.scope, request.receive, send)
            return
        path, receive = request.url.path, _limited(request, self._body_limit(request))
        client_address.set(request.client.host if request.client else None)
        if path == "/gradio_api/upload":
            await self._receive_upload(request, receive, send, int(user or 0))
            return
        if not STREAMS_WORK.fullmatch(path):
            await self.app(request.scope, receive, send)
            return
        self.services.lifecycle.open_streams += 1
        try:
            await self.app(request.scope, receive, send)
        finally:
            self.services.lifecycle.open_streams -= 1

    async def _user(self, request: Request) -> str | None:
        token = session_token(request)
        if token is None or STATIC.fullmatch(request.url.path):
            return None
        return await run_in_threadpool(self.services.sessions.get, token)

    async def _refusal(self, request: Request, user: str | None) -> Response | None:
        """Why the request is not answered; None where it is."""
        path, lifecycle = request.url.path, self.services.lifecycle
        if not lifecycle.ready:
            return None if LAUNCH.fullmatch(path) else _busy("The server is starting; try again in a few seconds.", 2)
        if is_cross_site(request):
            return PlainTextResponse("Requests from other sites are refused.", 403)
        access = find_access(request.method, path)
        if access == "none":
            return JSONResponse({"detail": "There is nothing here."}, 404)
        if access == "signed-in" and user is None:
            return _ask_to_sign_in(request)
        if lifecycle.draining and BEGINS_WORK.fullmatch(path):
            return _busy("The server is about to restart; try again in a minute.", 60)
        if path.startswith("/gradio_api/file="):
            owned = self.services.uploads.is_owned(path.removeprefix("/gradio_api/file="), int(user or 0))
            return None if owned else JSONResponse({"detail": "That is not among your uploads."}, 403)
        return await self._over_allowance(request, user)

    async def _over_allowance(self, request: Request, user: str | None) -> Response | None:
        """429 where captions are asked for over HTTP and the allowance is used up. The caption itself counts, later."""
        match = re.fullmatch(ENDPOINT + "/?", request.url.path)
        if request.method != "POST" or match is None or match[1] != "caption":
            return None
        address = request.client.host if request.client else None
        try:
            await run_in_threadpool(self.services.throttle.check, "caption", account=int(user or 0), address=address)
        except Throttled as error:
            return too_many(error)
        return None

    def _body_limit(self, request: Request) -> int:
        path = request.url.path
        if path == "/gradio_api/upload":
            return self.services.settings.max_bytes + MULTIPART_OVERHEAD
        return JSON_BYTES if path.startswith("/gradio_api/") else FORM_BYTES

    def _with_headers(self, request: Request, send: Send) -> Send:
        settings, path = self.services.settings, request.url.path
        secure = request.url.scheme == "https"
        csp = OWN_CSP if OWN_PAGES.fullmatch(path) else GRADIO_CSP

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = f"{csp}; frame-ancestors {settings.frame_ancestors}"
                headers["Permissions-Policy"] = "camera=(self), microphone=(), geolocation=(), payment=(), usb=()"
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "same-origin"
                headers["Cross-Origin-Resource-Policy"] = "same-origin"
                if secure:
                    headers["Strict-Transport-Security"] = "max-age=31536000"
                if not STATIC.fullmatch(path):
                    headers["Cache-Control"] = "no-store"
                if path in {"/login", "/login/"}:
                    replace_gradio_cookies(headers, secure, settings)
            await send(message)

        return send_with_headers

    async def _receive_upload(self, request: Request, receive: Receive, send: Send, user_id: int) -> None:
        """Receive files if there is room for them; those that arrive whole get their owner."""
        length, limit = request.headers.get("content-length", ""), self._body_limit(request)
        size = min(int(length), limit) if length.isascii() and length.isdigit() and len(length) < 20 else limit
        refusal: Response
        try:
            with self.services.uploads.receiving(user_id, size) as reservation:
                await self.app(request.scope, receive, self._recording_uploads(user_id, reservation, send))
        except Throttled as error:
            refusal = too_many(error)
        except StorageFull as error:
            refusal = _busy(str(error), 120)
        else:
            return
        await refusal(request.scope, receive, send)

    def _recording_uploads(self, user_id: int, reservation: Reservation, send: Send) -> Send:
        """Record the owner of the uploads before anybody learns their paths."""
        start: Message = {}
        body = b""

        async def send_and_record(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body", False):
                return
            if start["status"] == 200:
                for path in json.loads(body):
                    await run_in_threadpool(self.services.uploads.add, path, user_id)
                reservation.kept = True
            await send(start)
            await send({"type": "http.response.body", "body": body})

        return send_and_record


def find_access(method: str, path: str) -> Access:
    """Who may ask for a route."""
    lists: tuple[tuple[Access, dict[str, re.Pattern[str]]], ...] = (("public", PUBLIC), ("signed-in", SIGNED_IN))
    for access, patterns in lists:
        pattern = patterns.get("GET" if method == "HEAD" else method)
        if pattern is not None and pattern.fullmatch(path):
            return access
    return "none"


def is_cross_site(request: Request) -> bool:
    """Whether another site's page made the browser ask.

    Browsers say so in `Sec-Fetch-Site`, which no script can forge; of older ones the `Origin` is compared. A person
    who follows a link or opens a frame comes from another site too, which is well for pages. Programs send neither.
    """
    site = request.headers.get("sec-fetch-site")
    if site is None:
        origin = request.headers.get("origin")
        return origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if site in {"same-origin", "none"}:
        return False
    arrives = request.method in {"GET", "HEAD"} and request.headers.get("sec-fetch-mode") == "navigate"
    return not (arrives and PAGES.fullmatch(request.url.path))


def too_many(error: Throttled) -> JSONResponse:
    """The answer to one try too many."""
    return JSONResponse({"detail": str(error)}, 429, {"Retry-After": str(error.retry_after)})


def _busy(sentence: str, retry_after: int) -> JSONResponse:
    return JSONResponse({"detail": sentence}, 503, {"Retry-After": str(retry_after)})


def _ask_to_sign_in(request: Request) -> Response:
    """A page to a person, 401 to a program. The query is kept: a Space's frame needs its own."""
    if request.method in {"GET", "HEAD"} and PAGES.fullmatch(request.url.path):
        query = f"?{urlencode(request.query_params.multi_items())}" if request.query_params else ""
        return RedirectResponse(f"{request.scope.get('root_path', '')}/login{query}", 303)
    return JSONResponse({"detail": "Sign in first: POST username and password to /login and send its cookie."}, 401)


def _limited(request: Request, limit: int) -> Receive:
    """The request's body, up to a limit; beyond it 413, whatever Content-Length said."""
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise HTTPException(413, f"The request is larger than {limit / 2**20:.3g} MB; send less.")
        return message

    return receive
