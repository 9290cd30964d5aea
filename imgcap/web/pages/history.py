"""Show, search, edit, delete and download the readings in a user's history."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from imgcap.accounts.history import MAX_CAPTION
from imgcap.accounts.tables import HistoryEntry
from imgcap.errors import InputError
from imgcap.web.gate.refusals import as_refusal
from imgcap.web.gate.requests import download, read_form, read_number, user_of
from imgcap.web.pages.base import Pages
from imgcap.web.services import Services
from imgcap.web.texts import texts_of

PAGE = 20
"""Readings on a page."""


def history_routes(services: Services) -> list[BaseRoute]:
    """Return the routes."""
    pages = HistoryPages(services)
    return [
        Route("/history", pages.show_history),
        Route("/history.csv", pages.download_csv),
        Route("/history.json", pages.download_json),
        Route("/history/delete", pages.delete_history, methods=["POST"]),
        Route("/history/edit", pages.edit_caption, methods=["POST"]),
        Route("/history/{entry}.jpg", pages.thumbnail),
        Route("/history/{entry}", pages.show_entry),
    ]


class HistoryPages(Pages):
    """The handlers of the routes."""

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
        pages = max(1, -(-found // PAGE))
        page = min(max(1, page), pages)
        entries = await run_in_threadpool(history.search, user.id, text, PAGE, (page - 1) * PAGE)
        shown = {"user": user.name, "text": text, "found": found, "page": page, "pages": pages, "entries": entries}
        return self._page(request, "history.html", error, done=done, **shown)


def _wants_json(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")
