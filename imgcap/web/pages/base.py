"""What the pages that work without JavaScript share: how they are rendered, and how sessions begin and end."""

import secrets
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from imgcap.errors import InputError
from imgcap.web.gate.refusals import as_refusal, page_of, safe_place
from imgcap.web.gate.requests import is_secure, name_of_asker, root_of
from imgcap.web.presentation.rendering import render
from imgcap.web.services import Services
from imgcap.web.texts import texts_of


class Pages:
    """The base of the handlers. The guard lets only signed-in users through to those that need a user."""

    def __init__(self, services: Services) -> None:
        self.services = services

    def _page(self, request: Request, template: str, error: InputError | None = None, **shown: Any) -> HTMLResponse:
        """Render a page; with an error, the response has the error's HTTP status and headers."""
        texts = texts_of(request)
        shown = {
            "root": root_of(request), "place": page_of(request), "user": name_of_asker(request),
            "error": texts.sentence(str(error or "")), "done": "",
            "openid": self.services.openid.offered, "embedded": self.services.settings.embedded,
            "risk": self.services.storage_risk,
        } | shown  # fmt: skip
        html = render(template, texts, **shown)
        if error is None:
            return HTMLResponse(html)
        refusal = as_refusal(error)
        return HTMLResponse(html, refusal.status, refusal.headers)

    def _token(self, request: Request) -> str | None:
        return self.services.cookies.session_token(request)

    async def _begin_session(self, request: Request, name: str, place: str) -> Response:
        response = RedirectResponse(root_of(request) + safe_place(place), 303)
        await self._set_session(request, response, name)
        return response

    async def _set_session(self, request: Request, response: Response, name: str) -> None:
        """Begin a session, which replaces the client's previous one."""
        sessions, token = self.services.sessions, secrets.token_urlsafe(32)
        if (old := self._token(request)) is not None:
            await run_in_threadpool(sessions.end, old)
        await run_in_threadpool(sessions.__setitem__, token, name)
        self.services.cookies.set_session(response, token, is_secure(request))

    def _leave(self, request: Request, template: str, done: str) -> Response:
        open_registration = self.services.settings.open_registration
        response = self._page(
            request, template, user="", done=done, name="", next="/", open_registration=open_registration
        )
        self.services.cookies.clear_session(response, is_secure(request))
        return response
