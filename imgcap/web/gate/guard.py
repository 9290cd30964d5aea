"""Check every request before it reaches a route; a route that is not on the lists of `access` gets 404.

Gradio 6.31 answers strangers on some routes, and other sites' pages on all routes; this middleware answers neither. It
decides by `scope["path"]`, the path that the router will use, because `request.url` also depends on the Host header.
"""

import json
import logging
import re
import traceback
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imgcap.accounts.tables import User
from imgcap.accounts.throttling import Kind, Throttled
from imgcap.accounts.tokens import PREFIX
from imgcap.errors import InputError
from imgcap.web.gate.access import (
    BEGINS_WORK,
    ENDPOINT,
    LAUNCH,
    NAMED_ENDPOINT,
    OWN_PAGES,
    PAGES,
    PARAMETERS,
    STATIC,
    STREAMED,
    STREAMS_WORK,
    TAKES_JSON,
    TOKEN_OPENS,
    find_access,
)
from imgcap.web.gate.answers import hold_back
from imgcap.web.gate.bodies import BodyLimit, parse_object, replay
from imgcap.web.gate.headers import with_security_headers
from imgcap.web.gate.refusals import SIGN_IN_FIRST, Refusal, as_refusal, place_of, sign_in_link
from imgcap.web.gate.requests import ASKER, address_of
from imgcap.web.services import Services

logger = logging.getLogger(__name__)

LONGEST_NAME, LONGEST_PATH = 255, 2048
"""Maximum bytes of a file's name and of a path; Gradio's static routes raise OSError for longer ones."""
FORM_BYTES, JSON_BYTES, FRAME_BYTES, MULTIPART_OVERHEAD = 2**16, 2**17, 2**19, 2**16
STARTING = Refusal(503, "The server is starting; try again in a few seconds.", 2)
STOPPING = Refusal(503, "The server is about to restart; try again in a minute.", 60)
NOTHING_HERE = Refusal(404, "There is nothing at this address; check it.")
NO_SUCH_EVENT = Refusal(404, "There is no such request of yours, or its answer was given already.")
NO_SUCH_SESSION = Refusal(404, "That session belongs to somebody else; reload the page.")
UNKNOWN_BEARER = "This access token is unknown, revoked or expired: make another on the account page."
NOT_FOR_BEARERS = "An access token opens the API and the history's exports alone; sign in for this page."
UNEXPECTED = Refusal(500, "Something went wrong on this server; try again, and tell its operator if it stays so.")


class Guard:
    """ASGI middleware; the innermost one around Gradio's and the app's own routes."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self.app = app
        self.services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            scope["root_path"] = self.services.settings.root_path  # for the app's own links and redirects
            await self._answer(Request(scope, receive), send)

    async def _answer(self, request: Request, send: Send) -> None:
        """Answer a request in any case: an unexpected error becomes one sentence, and a line in the log."""
        began = False
        with_headers = with_security_headers(request, send, self.services.settings.frame_ancestors)

        async def noting_send(message: Message) -> None:
            nonlocal began
            began = True
            await with_headers(message)

        try:
            await self._admit(request, noting_send)
        except (ConnectionError, ClientDisconnect):
            logger.debug("a client went away")
        except (HTTPException, InputError) as error:
            if not began:
                await as_refusal(error).respond(request)(request.scope, request.receive, noting_send)
        except Exception as error:  # noqa: BLE001  no exception may reach a user, and no text of one the log
            # Only the place is logged, since the text of an error may contain a person's input.
            where = "".join(traceback.format_tb(error.__traceback__)[-3:])
            logger.error("%s in %s\n%s", type(error).__name__, _name_route(request), where)  # noqa: TRY400
            if not began:
                await UNEXPECTED.respond(request)(request.scope, request.receive, noting_send)

    async def _admit(self, request: Request, send: Send) -> None:
        """Refuse a request, or pass it on with its body limited and checked."""
        path = str(request.scope["path"])
        body = BodyLimit(request.receive, self._body_limit(path))
        request = Request(request.scope, body.receive)
        asker = request.scope[ASKER] = await self._asker(request)
        user = None if asker is None else str(asker.id)
        refusal = await self._refusal(request, user)
        if refusal is not None:
            await refusal(request.scope, request.receive, send)
            return
        receive: Receive = body.receive
        if request.method == "POST" and path not in STREAMED:
            content = await body.read_all()
            if TAKES_JSON.fullmatch(path):
                self._check_json(path, parse_object(content), user or "")
            receive = replay(content, receive)
        if path == "/gradio_api/upload":
            await self._receive_upload(request, receive, send, int(user or 0))
            return
        _drop_several_ranges(request.scope)
        if not STREAMS_WORK.fullmatch(path):
            await self.app(request.scope, receive, send)
            return
        self.services.lifecycle.open_streams += 1
        try:
            await self.app(request.scope, receive, send)
        finally:
            self.services.lifecycle.open_streams -= 1

    async def _asker(self, request: Request) -> User | None:
        """Return the user of the request's access token or else of its session.

        Raises:
            HTTPException: 401 if the token is unknown, revoked or expired; 403 if the route is not open to tokens.
            Throttled: too many wrong tokens came from this address.
        """
        path = str(request.scope["path"])
        if STATIC.fullmatch(path):
            return None
        token = access_token(request)
        if token is None:
            session, sessions = self.services.cookies.session_token(request), self.services.sessions
            if session is None:
                return None
            return sessions.recall(session) or await run_in_threadpool(sessions.find, session)
        user = await run_in_threadpool(self.services.tokens.find, token)
        if user is None:
            await run_in_threadpool(self.services.throttle.hit, "sign_in", account=None, address=address_of(request))
            raise HTTPException(401, UNKNOWN_BEARER)
        if find_access(request.method, path) == "signed-in" and not TOKEN_OPENS.fullmatch(path):
            raise HTTPException(403, NOT_FOR_BEARERS)
        return user

    async def _refusal(self, request: Request, user: str | None) -> Response | None:
        """Return the refusal of a request; None if it may be answered."""
        path, lifecycle = str(request.scope["path"]), self.services.lifecycle
        if not lifecycle.ready:
            return None if LAUNCH.fullmatch(path) else STARTING.respond(request)
        if is_cross_site(request):
            return PlainTextResponse("Requests from other sites are refused.", 403)
        if "\0" in path or b"%00" in request.scope["query_string"]:
            return Refusal(400, "The address holds a character that no page has; check it.").respond(request)
        access = find_access(request.method, path)
        if access == "none" or _names_a_page(request) or is_no_file(path):
            return NOTHING_HERE.respond(request)
        if access == "signed-in" and user is None:
            return _ask_to_sign_in(request)
        if lifecycle.draining and BEGINS_WORK.fullmatch(path):
            return STOPPING.respond(request)
        refusal = self._is_anothers(request, path, user or "") or await self._over_allowance(request, path, user)
        return None if refusal is None else refusal.respond(request)

    def _is_anothers(self, request: Request, path: str, user: str) -> Refusal | None:
        """Return the refusal of an upload, event or Gradio session of another user; None if it is the user's own."""
        if path.startswith("/gradio_api/file="):
            owned = self.services.uploads.is_owned(path.removeprefix("/gradio_api/file="), int(user or 0))
            return None if owned else Refusal(403, "That is not among your uploads.")
        queue = self.services.queue
        if queue is None:
            return None
        if request.method in {"GET", "HEAD"} and (event := re.fullmatch(ENDPOINT + r"/([^/]+)", path)):
            return None if queue.tickets.may_read(user, event[2]) else NO_SUCH_EVENT
        beat = re.fullmatch(r"/gradio_api/heartbeat/([^/]+)", path)
        session = beat[1] if beat else request.query_params.get("session_hash")
        return None if session is None or queue.tickets.may_use(user, session) else NO_SUCH_SESSION

    def _check_json(self, path: str, content: dict[str, Any], user: str) -> None:
        """Check the JSON body of a request to Gradio's API.

        Raises:
            HTTPException: 404 if the event or session is another user's; 422 if the endpoint has no such parameter.
        """
        queue, event, session = self.services.queue, content.get("event_id"), content.get("session_hash")
        if queue is not None:
            if path == "/gradio_api/cancel" and not (isinstance(event, str) and queue.tickets.may_read(user, event)):
                raise HTTPException(404, NO_SUCH_EVENT.sentence)
            if isinstance(session, str) and not queue.tickets.may_use(user, session):
                raise HTTPException(404, NO_SUCH_SESSION.sentence)
        named = re.fullmatch(NAMED_ENDPOINT + "/?", path)
        if named is not None:
            unknown = sorted(set(content) - set(PARAMETERS[named[1]]))
            if unknown:
                takes = f"it takes {', '.join(PARAMETERS[named[1]])}."
                raise HTTPException(422, f"/{named[1]} has no parameter {unknown[0][:40]!r}; {takes}")

    async def _over_allowance(self, request: Request, path: str, user: str | None) -> Refusal | None:
        """Return a refusal if a request starts work whose allowance is used up. The work itself counts later."""
        match = re.fullmatch(ENDPOINT + "/?", path)
        if request.method != "POST" or match is None:
            return None
        kinds: tuple[Kind, ...] = ("picture", "caption") if match[1] == "caption" else ("picture",)
        throttle, account, address = self.services.throttle, int(user or 0), address_of(request)
        try:
            for kind in kinds:
                if throttle.waits:
                    await run_in_threadpool(throttle.check, kind, account=account, address=address)
                else:
                    throttle.check(kind, account=account, address=address)
        except Throttled as error:
            return Refusal(429, str(error), error.retry_after)
        return None

    def _body_limit(self, path: str) -> int:
        if path == "/gradio_api/upload":
            return self.services.settings.max_bytes + MULTIPART_OVERHEAD
        if path == "/batch/files":
            return self.services.settings.upload_bytes_per_account
        if path.startswith("/live/"):
            return FRAME_BYTES
        return JSON_BYTES if path.startswith("/gradio_api/") else FORM_BYTES

    async def _receive_upload(self, request: Request, receive: Receive, send: Send, user_id: int) -> None:
        """Receive files if the server has room for them, and record the owner of those that arrive complete."""
        length, limit = request.headers.get("content-length", ""), self._body_limit(str(request.scope["path"]))
        size = min(int(length), limit) if length.isascii() and length.isdigit() and len(length) < 20 else limit
        with self.services.uploads.receiving(user_id, size) as reservation:

            async def record(status: int, answer: bytes) -> bytes:
                """Record the owner of the uploads before the client learns their paths."""
                if status == 200:
                    for path in json.loads(answer):
                        await run_in_threadpool(self.services.uploads.add, path, user_id)
                    reservation.kept = True
                return answer

            await self.app(request.scope, receive, hold_back(send, record))


def access_token(request: Request) -> str | None:
    """Return the request's access token of this app, if it has one.

    `gradio_client` sends its argument `token` in a header of Hugging Face. Tokens of other kinds are ignored, since a
    proxy may add its own.
    """
    for header in ("authorization", "x-hf-authorization"):
        scheme, _, token = request.headers.get(header, "").partition(" ")
        if scheme.lower() == "bearer" and token.strip().startswith(PREFIX):
            return token.strip()
    return None


def is_no_file(path: str) -> bool:
    """Return whether a path, or a name in it, is too long for a file."""
    encoded = path.encode(errors="replace")
    return len(encoded) > LONGEST_PATH or any(len(name) > LONGEST_NAME for name in encoded.split(b"/"))


def is_cross_site(request: Request) -> bool:
    """Return whether another site's page made the browser send a request.

    Browsers say so in `Sec-Fetch-Site`, which scripts cannot forge; older ones send `Origin`, which is compared with
    the host. Following a link or opening a frame from another site is allowed for pages. Programs send neither header.
    """
    site = request.headers.get("sec-fetch-site")
    if site is None:
        origin = request.headers.get("origin")
        return origin is not None and origin.partition("://")[2] != request.headers.get("host")
    if site in {"same-origin", "none"}:
        return False
    arrives = request.method in {"GET", "HEAD"} and request.headers.get("sec-fetch-mode") == "navigate"
    return not (arrives and PAGES.fullmatch(request.scope["path"]))


def _names_a_page(request: Request) -> bool:
    """Return whether Gradio is asked for a page other than its first: the app has none, and Gradio would fail."""
    return not OWN_PAGES.fullmatch(str(request.scope["path"])) and bool(request.query_params.get("page"))


def _ask_to_sign_in(request: Request) -> Response:
    """Return a redirect to the sign-in page for a person who opens a page, and 401 for all other requests."""
    if request.method in {"GET", "HEAD"} and PAGES.fullmatch(request.scope["path"]):
        return RedirectResponse(sign_in_link(request, place_of(request)), 303)
    return Refusal(401, SIGN_IN_FIRST).respond(request)


def _name_route(request: Request) -> str:
    """Return a request's method and the first two parts of its path, which contain no person's or file's name."""
    return f"{request.method} {'/'.join(str(request.scope['path']).partition('=')[0].split('/')[:3])}"


def _drop_several_ranges(scope: Scope) -> None:
    """Turn a request for several ranges of a file into one for the whole file, because Gradio fails at several.

    RFC 9110 allows this.
    """
    scope["headers"] = [(name, value) for name, value in scope["headers"] if not (name == b"range" and b"," in value)]
