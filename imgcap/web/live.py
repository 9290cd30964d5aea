"""Serve the routes of the live tab, which check a camera's frames and describe some of them.

A frame costs its decoding and the blur check. Frames have their own allowance, and each account has one frame at a time
in progress. Frames are not stored.
"""

from collections.abc import Callable
from typing import TypeAlias

import anyio
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from imgcap.reading import Reading, format_confidence
from imgcap.web.gate.refusals import Refusal
from imgcap.web.gate.requests import address_of, user_of
from imgcap.web.intake.opening import Caller
from imgcap.web.presentation.gauge import badge_html, gauge_html
from imgcap.web.presentation.rendering import doubt_of
from imgcap.web.services import Services
from imgcap.web.texts import Texts, texts_of
from imgcap.web.work import Work

Look: TypeAlias = Callable[[bytes, Caller], Reading]

AT_ONCE = 2
"""Number of frames of all accounts in progress at once."""
WAITING = 50
"""Number of frames of all accounts that may wait."""
ONE_BY_ONE = Refusal(429, "Send the next frame once the one before is answered.", 1)
BUSY = Refusal(503, "Too many cameras are on at present; try again in a few seconds.", 5)


def live_routes(services: Services) -> list[BaseRoute]:
    """Return the routes. The guard lists them for signed-in users."""
    routes = LiveRoutes(services.work)
    return [
        Route("/live/frame", routes.check, methods=["POST"]),
        Route("/live/caption", routes.describe, methods=["POST"]),
    ]


class LiveRoutes:
    """The handlers of the routes. A request's body is a frame as JPEG, or in another supported format."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._limiter = anyio.CapacityLimiter(AT_ONCE)
        self._users: set[tuple[int, str]] = set()

    async def check(self, request: Request) -> Response:
        """Send the verdict on a frame."""
        return await self._answer(request, self._work.check_frame)

    async def describe(self, request: Request) -> Response:
        """Send the verdict on a frame, and its caption if it is sharp."""
        return await self._answer(request, self._work.describe_frame)

    async def _answer(self, request: Request, look: Look) -> Response:
        key, texts = (user_of(request).id, request.url.path), texts_of(request)
        if key in self._users:
            return ONE_BY_ONE.respond(request)
        if len(self._users) >= WAITING:
            return BUSY.respond(request)
        self._users.add(key)
        try:
            data = await request.body()
            reading = await run_sync(look, data, Caller(key[0], address_of(request)), limiter=self._limiter)
        finally:
            self._users.discard(key)
        return JSONResponse(_shown(reading, texts))


def _shown(reading: Reading, texts: Texts) -> dict[str, object]:
    """Return the reading with the HTML of its badge and gauge, which is made from numbers alone."""
    shown: dict[str, object] = reading.as_dict() | {"error": reading.error and texts.sentence(reading.error)}
    if reading.valid is not None and reading.blur_variance is not None:
        shown["html"] = badge_html(reading.valid, reading.reason, texts) + gauge_html(
            reading.blur_variance, reading.threshold, texts
        )
    if reading.confidence is not None:
        doubt = doubt_of(reading.confidence)
        shown["sure"] = texts(f"reading.sure.{doubt}", percent=texts.number(format_confidence(reading.confidence)))
    if reading.warning:
        shown["warned"] = texts("reading.unfamiliar.captioned" if reading.caption else "reading.unfamiliar.refused")
    return shown
