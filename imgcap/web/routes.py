"""Serve the pages that work without JavaScript: sign-in, registration, account, history and privacy notice."""

import re
import secrets
from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from imgcap.accounts.database import HistoryEntry, utc_now
from imgcap.accounts.history import MAX_CAPTION, make_thumbnail
from imgcap.accounts.throttling import Throttled
from imgcap.errors import InputError
from imgcap.web import gauge
from imgcap.web.batches.routes import batch_routes
from imgcap.web.dataset.routes import dataset_routes
from imgcap.web.guard import NOTHING_HERE
from imgcap.web.live import live_routes
from imgcap.web.manifest import build_manifest
from imgcap.web.openid import CALLBACK
from imgcap.web.refusals import Refusal, as_refusal, page_of, safe_place
from imgcap.web.rendering import HERE, render
from imgcap.web.requests import Form, address_of, download, name_of_asker, read_form, read_number, user_of
from imgcap.web.services import Services
from imgcap.web.texts import LANGUAGES, texts_of
from imgcap.web.work import Caller

HISTORY_PAGE = 20
PREVIEW_SIDE = 1024
PLACES = re.compile(r"/|/account|/history(/\d+)?|/login|/login/register|/privacy")
"""Pages that can be shown again in another language."""


def build_routes(services: Services) -> list[BaseRoute]:
    """Return the app's own routes. The guard lists who may request each."""
    pages = Pages(services)
    return [
        Route("/pages/gauge.css", pages.gauge_style),
        Mount("/pages", StaticFiles(directory=HERE / "static")),
        Route("/language", pages.choose_language, methods=["POST"]),
        Route("/manifest.json", pages.manifest),
        Route("/gradio_api/healthz", pages.health),
        Route("/login", pages.show_sign_in),
        Route("/login", pages.sign_in_program, methods=["POST"]),
        Route("/login/", pages.sign_in_program, methods=["POST"]),
        Route("/login/form", pages.sign_in, methods=["POST"]),
        Route("/login/huggingface", pages.leave_for_provider),
        Route(CALLBACK, pages.come_back_from_provider),
        Route("/login/register", pages.show_registration),
        Route("/login/register", pages.register, methods=["POST"]),
        Route("/logout", pages.show_sign_out),
        Route("/logout", pages.sign_out, methods=["POST"]),
        Route("/privacy", pages.show_privacy),
        Route("/preview", pages.preview),
        Route("/account", pages.show_account),
        Route("/account/password", pages.change_password, methods=["POST"]),
        Route("/account/tokens", pages.add_token, methods=["POST"]),
        Route("/account/tokens/revoke", pages.revoke_token, methods=["POST"]),
        Route("/account/delete", pages.delete_account, methods=["POST"]),
        Route("/account/data", pages.download_data),
        Route("/history", pages.show_history),
        Route("/history.csv", pages.download_csv),
        Route("/history.json", pages.download_json),
        Route("/history/delete", pages.delete_history, methods=["POST"]),
        Route("/history/edit", pages.edit_caption, methods=["POST"]),
        Route("/history/{entry}.jpg", pages.thumbnail),
        Route("/history/{entry}", pages.show_entry),
        *batch_routes(services),
        *dataset_routes(services),
        *live_routes(services),
    ]


class Pages:
    """The handlers of the routes. The guard lets only signed-in users through to those that need a user."""

    def __init__(self, services: Services) -> None:
        self.services = services

    async def health(self, request: Request) -> Response:  # noqa: ARG002  the signature is Starlette's
        """Send a monitor whether the server takes requests and can write captions."""
        problem = self.services.problem()
        return JSONResponse({"status": problem or "ok"}, 503 if problem else 200)

    async def gauge_style(self, request: Request) -> Response:  # noqa: ARG002  as above
        """Send the style sheet of the badge and the gauge."""
        return Response(gauge.CSS, media_type="text/css")

    async def manifest(self, request: Request) -> Response:
        """Send the manifest with which a browser installs the app."""
        return JSONResponse(build_manifest(texts_of(request), _root(request)), media_type="application/manifest+json")

    async def choose_language(self, request: Request) -> Response:
        """Remember the language chosen in the menu, and show the same page again."""
        form = await read_form(request)
        place = safe_place(form["next"], PLACES)
        response = RedirectResponse(_root(request) + place, 303)
        if form["language"] in LANGUAGES:
            self.services.cookies.set_language(response, form["language"], _is_secure(request))
        return response

    async def show_sign_in(self, request: Request) -> Response:
        """Show the sign-in page."""
        return self._sign_in_page(request, Form(request.query_params))

    async def sign_in(self, request: Request) -> Response:
        """Sign in from the page's own form; programs use `POST /login`."""
        form = await read_form(request)
        try:
            user = await self.services.sign_in(form["username"], form["password"], address_of(request))
        except Throttled as error:
            return self._sign_in_page(request, form, error)
        if user is None:
            wrong = InputError(texts_of(request)("signin.wrong"))
            return self._sign_in_page(request, form, wrong)
        return await self._begin_session(request, user.name, form["next"])

    async def sign_in_program(self, request: Request) -> Response:
        """Sign in a program, such as gradio_client, and answer in JSON.

        It replaces Gradio's route with the same form, which writes the session on the event loop, where a locked
        database would delay all other requests.
        """
        form = await read_form(request)
        try:
            user = await self.services.sign_in(form["username"], form["password"], address_of(request))
        except Throttled as error:
            return as_refusal(error).respond(request)
        if user is None:
            return Refusal(400, "The name or the password is wrong.").respond(request)
        response = JSONResponse({"success": True})
        await self._set_session(request, response, user.name)
        return response

    async def leave_for_provider(self, request: Request) -> Response:
        """Send a person to Hugging Face, where they sign in."""
        form, services = Form(request.query_params), self.services
        if not services.openid.offered:
            return NOTHING_HERE.respond(request)
        host = services.settings.public_host
        start = f"https://{host}" if host else f"{request.url.scheme}://{request.url.netloc}"
        try:
            await services.hit("sign_in", None, address_of(request))
            link, visit = await services.openid.begin(f"{start}{_root(request)}{CALLBACK}", safe_place(form["next"]))
        except InputError as error:
            return self._sign_in_page(request, form, error)
        response = RedirectResponse(link, 303)
        services.cookies.set_visit(response, visit.state, _is_secure(request))
        return response

    async def come_back_from_provider(self, request: Request) -> Response:
        """Sign in a person whom Hugging Face sends back."""
        form, services = Form(request.query_params), self.services
        if not services.openid.offered:
            return NOTHING_HERE.respond(request)
        remembered = request.cookies.get(services.cookies.visit_name)
        try:
            await services.hit("sign_in", None, address_of(request))
            person, place = await services.openid.finish(form["state"], remembered, form["code"])
            user = await run_in_threadpool(services.identities.sign_in, person.subject, person.name)
        except InputError as error:
            return self._sign_in_page(request, Form(), error)
        response = await self._begin_session(request, user.name, place)
        services.cookies.clear_visit(response, _is_secure(request))
        return response

    async def show_registration(self, request: Request) -> Response:
        """Show the registration page."""
        return self._registration_page(request, Form(request.query_params))

    async def register(self, request: Request) -> Response:
        """Create an account and sign in."""
        form = await read_form(request)
        try:
            await self.services.hit("registration", form["username"], address_of(request))
            user = await self.services.accounts.aregister(form["username"], form["password"])
        except InputError as error:
            return self._registration_page(request, form, error)
        return await self._begin_session(request, user.name, form["next"])

    async def show_sign_out(self, request: Request) -> Response:
        """Ask whether to sign out here or everywhere, since a link alone must not sign anyone out."""
        return self._page(request, "sign_out.html")

    async def sign_out(self, request: Request) -> Response:
        """End this session, or all of the user's sessions."""
        form = await read_form(request)
        if form["everywhere"]:
            await run_in_threadpool(self.services.sessions.end_all, user_of(request).id)
        else:
            await run_in_threadpool(self.services.sessions.end, self._token(request) or "")
        return self._leave(request, "sign_in.html", texts_of(request)("signin.signed_out"))

    async def show_privacy(self, request: Request) -> Response:
        """Show the privacy notice with the values of the settings."""
        return self._page(request, "privacy.html", settings=self.services.settings)

    async def preview(self, request: Request) -> Response:
        """Send a copy, which every browser can show, of one of the user's uploads."""
        user, path = user_of(request), request.query_params.get("path", "")
        try:
            picture = await run_in_threadpool(
                self.services.work.open_upload, {"path": path}, Caller(user.id, address_of(request))
            )
        except InputError as error:
            return as_refusal(error, 404).respond(request)
        return Response(await run_in_threadpool(make_thumbnail, picture.pixels, PREVIEW_SIDE), media_type="image/jpeg")

    async def show_account(self, request: Request) -> Response:
        """Show the account page."""
        return await self._account_page(request)

    async def change_password(self, request: Request) -> Response:
        """Change the password; every other session of the user ends."""
        form, user = await read_form(request), user_of(request)
        try:
            await self._prove(request, form["current"], "The current password is wrong; type it again.")
            await self.services.accounts.aset_password(user, form["new"], self._token(request))
        except InputError as error:
            return await self._account_page(request, error)
        return await self._account_page(request, done=texts_of(request)("account.password_changed"))

    async def add_token(self, request: Request) -> Response:
        """Make an access token if the password is right, and show it once."""
        form, user = await read_form(request), user_of(request)
        days = None if form["days"] == "never" else read_number(form["days"], 0)
        try:
            await self._prove(request, form["password"], texts_of(request)("account.wrong_password_token"))
            token = await run_in_threadpool(self.services.tokens.add, user.id, form["name"], days)
        except InputError as error:
            return await self._account_page(request, error)
        made = {"name": form["name"], "token": token}
        return await self._account_page(request, done=texts_of(request)("account.token_made"), made=made)

    async def revoke_token(self, request: Request) -> Response:
        """Revoke an access token."""
        form = await read_form(request)
        try:
            await run_in_threadpool(self.services.tokens.revoke, user_of(request).id, form["name"])
        except InputError as error:
            return await self._account_page(request, error)
        done = texts_of(request)("account.token_revoked", name=form["name"])
        return await self._account_page(request, done=done)

    async def delete_account(self, request: Request) -> Response:
        """Delete the account and everything stored about it, if the password is right."""
        form, user = await read_form(request), user_of(request)
        try:
            await self._prove(request, form["password"], texts_of(request)("account.wrong_password"))
            await self.services.delete_account(user.id)
        except InputError as error:
            return await self._account_page(request, error)
        return self._leave(request, "sign_in.html", texts_of(request)("signin.account_deleted"))

    async def download_data(self, request: Request) -> Response:
        """Send everything stored about the user as a ZIP archive."""
        archive = await run_in_threadpool(self.services.accounts.export, user_of(request))
        return download(archive, "imgcap-data.zip", "application/zip")

    async def show_history(self, request: Request) -> Response:
        """Show the user's readings with a search, in pages."""
        return await self._history_page(request)

    async def delete_history(self, request: Request) -> Response:
        """Delete one reading or all of them."""
        form, user, texts = await read_form(request), user_of(request), texts_of(request)
        history = self.services.history
        try:
            if form["all"]:
                deleted = await run_in_threadpool(history.delete_all, user.id)
                return await self._history_page(request, done=texts.count("history.deleted_all", deleted))
            await run_in_threadpool(history.delete, user.id, read_number(form["entry"], -1))
        except InputError as error:
            return await self._history_page(request, error)
        return await self._history_page(request, done=texts("history.deleted"))

    async def show_entry(self, request: Request) -> Response:
        """Open one of the user's readings again."""
        user = user_of(request)
        try:
            number = read_number(request.path_params["entry"], -1)
            entry = await run_in_threadpool(self.services.history.get, user.id, number)
        except InputError as error:
            return as_refusal(error, 404).respond(request)
        return self._entry_page(request, entry)

    async def edit_caption(self, request: Request) -> Response:
        """Save the user's own caption of a reading, or restore the model's."""
        form, user, texts = await read_form(request), user_of(request), texts_of(request)
        history, number = self.services.history, read_number(form["entry"], -1)
        caption = None if form["restore"] else form["caption"]
        try:
            entry = await run_in_threadpool(history.get, user.id, number)
        except InputError as error:
            return as_refusal(error, 404).respond(request)
        try:
            entry = await run_in_threadpool(history.edit, user.id, number, caption)
        except InputError as error:
            if _wants_json(request):
                return as_refusal(error).respond(request)
            return self._entry_page(request, entry, error, typed=form["caption"])
        if _wants_json(request):
            return JSONResponse({"caption": entry.edited_caption or entry.caption, "written": entry.caption})
        if caption is not None:
            return self._entry_page(request, entry, done=texts("history.saved"))
        return self._entry_page(request, entry, done=texts("history.restored" if entry.caption else "history.removed"))

    async def download_csv(self, request: Request) -> Response:
        """Send the user's readings as a CSV table."""
        table = await run_in_threadpool(self.services.history.to_csv, user_of(request).id)
        return download(table.encode(), "imgcap-history.csv", "text/csv; charset=utf-8")

    async def download_json(self, request: Request) -> Response:
        """Send the user's readings as JSON."""
        readings = await run_in_threadpool(self.services.history.to_json, user_of(request).id)
        return download(readings.encode(), "imgcap-history.json", "application/json")

    async def thumbnail(self, request: Request) -> Response:
        """Send the thumbnail of one of the user's readings."""
        user, entry = user_of(request), read_number(request.path_params["entry"], -1)
        try:
            jpeg = await run_in_threadpool(self.services.history.get_thumbnail, user.id, entry)
        except InputError as error:
            return as_refusal(error, 404).respond(request)
        return Response(jpeg, media_type="image/jpeg")

    def _token(self, request: Request) -> str | None:
        return self.services.cookies.session_token(request)

    async def _begin_session(self, request: Request, name: str, place: str) -> Response:
        response = RedirectResponse(_root(request) + safe_place(place), 303)
        await self._set_session(request, response, name)
        return response

    async def _prove(self, request: Request, password: str, otherwise: str) -> None:
        """Make sure that the user asks, and not another person at their screen.

        People who sign in with Hugging Face may leave the password empty for a while after signing in.

        Raises:
            InputError: the password is wrong (with the sentence `otherwise`), or the sign-in was too long ago.
        """
        user, identities = user_of(request), self.services.identities
        if not password and await run_in_threadpool(identities.is_linked, user.id):
            if not await run_in_threadpool(identities.is_fresh, user.id, self._token(request)):
                raise InputError("Sign out and sign in with Hugging Face again, and do this within ten minutes.")
            return
        verified = await self.services.sign_in(user.name, password, address_of(request))
        if verified is None or verified.id != user.id:
            raise InputError(otherwise)

    async def _set_session(self, request: Request, response: Response, name: str) -> None:
        """Begin a session, which replaces the client's previous one."""
        sessions, token = self.services.sessions, secrets.token_urlsafe(32)
        if (old := self._token(request)) is not None:
            await run_in_threadpool(sessions.end, old)
        await run_in_threadpool(sessions.__setitem__, token, name)
        self.services.cookies.set_session(response, token, _is_secure(request))

    def _leave(self, request: Request, template: str, done: str) -> Response:
        open_registration = self.services.settings.open_registration
        response = self._page(
            request, template, user="", done=done, name="", next="/", open_registration=open_registration
        )
        self.services.cookies.clear_session(response, _is_secure(request))
        return response

    def _sign_in_page(self, request: Request, form: Mapping[str, str], error: InputError | None = None) -> Response:
        shown = {"name": form["username"] if error else "", "next": safe_place(form["next"])}
        return self._page(
            request, "sign_in.html", error, open_registration=self.services.settings.open_registration, **shown
        )

    def _registration_page(
        self, request: Request, form: Mapping[str, str], error: InputError | None = None
    ) -> Response:
        return self._page(
            request,
            "register.html",
            error,
            name=form["username"] if error else "",
            next=safe_place(form["next"]),
            open_registration=self.services.settings.open_registration,
            min_password_length=self.services.settings.min_password_length,
        )

    async def _account_page(
        self, request: Request, error: InputError | None = None, done: str = "", made: Mapping[str, str] | None = None
    ) -> Response:
        user = user_of(request)
        shown = {
            "user": user.name,
            "tokens": await run_in_threadpool(self.services.tokens.list, user.id),
            "now": utc_now(),
            "made": made,
            "linked": await run_in_threadpool(self.services.identities.is_linked, user.id),
            "min_password_length": self.services.settings.min_password_length,
        }
        return self._page(request, "account.html", error, done=done, **shown)

    def _entry_page(
        self,
        request: Request,
        entry: HistoryEntry,
        error: InputError | None = None,
        done: str = "",
        typed: str | None = None,
    ) -> Response:
        """Show one reading; the query names the page of the history to return to."""
        shown = {
            "user": user_of(request).name,
            "entry": entry,
            "typed": entry.shown_caption or "" if typed is None else typed,
            "most": MAX_CAPTION,
            "query": f"?{request.url.query}" if request.url.query else "",
            "place": f"/history/{entry.id}",
        }
        return self._page(request, "entry.html", error, done=done, **shown)

    async def _history_page(self, request: Request, error: InputError | None = None, done: str = "") -> Response:
        user, history = user_of(request), self.services.history
        text, page = request.query_params.get("q", "")[:200], read_number(request.query_params.get("page"), 1)
        found = await run_in_threadpool(history.count, user.id, text)
        pages = max(1, -(-found // HISTORY_PAGE))
        page = min(max(1, page), pages)
        entries = await run_in_threadpool(history.search, user.id, text, HISTORY_PAGE, (page - 1) * HISTORY_PAGE)
        shown = {"user": user.name, "text": text, "found": found, "page": page, "pages": pages, "entries": entries}
        return self._page(request, "history.html", error, done=done, **shown)

    def _page(self, request: Request, template: str, error: InputError | None = None, **shown: Any) -> HTMLResponse:
        """Render a page; with an error, the response has the error's HTTP status and headers."""
        shown = {
            "root": _root(request), "place": page_of(request), "user": name_of_asker(request),
            "error": str(error or ""), "done": "",
            "openid": self.services.openid.offered, "embedded": self.services.settings.embedded,
            "risk": self.services.storage_risk,
        } | shown  # fmt: skip
        html = render(template, texts_of(request), **shown)
        if error is None:
            return HTMLResponse(html)
        refusal = as_refusal(error)
        return HTMLResponse(html, refusal.status, refusal.headers)


def _root(request: Request) -> str:
    return str(request.scope.get("root_path", ""))


def _is_secure(request: Request) -> bool:
    return request.url.scheme == "https"


def _wants_json(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")
