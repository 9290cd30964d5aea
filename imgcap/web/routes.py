"""Serve the app's own routes: the pages that work without JavaScript, and what other parts of the page ask for."""

import re

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from imgcap.accounts.history import make_thumbnail
from imgcap.errors import InputError
from imgcap.web.batches.routes import batch_routes
from imgcap.web.dataset.routes import dataset_routes
from imgcap.web.gate.refusals import as_refusal, safe_place
from imgcap.web.gate.requests import address_of, is_secure, read_form, root_of, user_of
from imgcap.web.intake.opening import Caller
from imgcap.web.live import live_routes
from imgcap.web.pages.account import account_routes
from imgcap.web.pages.base import Pages
from imgcap.web.pages.history import history_routes
from imgcap.web.pages.sign_in import sign_in_routes
from imgcap.web.presentation import gauge
from imgcap.web.presentation.manifest import build_manifest
from imgcap.web.presentation.theme import STATIC
from imgcap.web.services import Services
from imgcap.web.texts import LANGUAGES, texts_of

PREVIEW_SIDE = 1024
PLACES = re.compile(r"/|/account|/history(/\d+)?|/login|/login/register|/privacy")
"""Pages that can be shown again in another language."""


def build_routes(services: Services) -> list[BaseRoute]:
    """Return the app's own routes. The guard lists who may request each."""
    general = GeneralRoutes(services)
    return [
        Route("/pages/gauge.css", general.gauge_style),
        Mount("/pages", StaticFiles(directory=STATIC)),
        Route("/language", general.choose_language, methods=["POST"]),
        Route("/manifest.json", general.manifest),
        Route("/gradio_api/healthz", general.health),
        Route("/privacy", general.show_privacy),
        Route("/preview", general.preview),
        *sign_in_routes(services),
        *account_routes(services),
        *history_routes(services),
        *batch_routes(services),
        *dataset_routes(services),
        *live_routes(services),
    ]


class GeneralRoutes(Pages):
    """The handlers of the routes that belong to no one tab or page."""

    async def health(self, request: Request) -> Response:  # noqa: ARG002  the signature is Starlette's
        """Send a monitor whether the server takes requests and can write captions."""
        problem = self.services.problem()
        return JSONResponse({"status": problem or "ok"}, 503 if problem else 200)

    async def gauge_style(self, request: Request) -> Response:  # noqa: ARG002  as above
        """Send the style sheet of the badge and the gauge."""
        return Response(gauge.CSS, media_type="text/css")

    async def manifest(self, request: Request) -> Response:
        """Send the manifest with which a browser installs the app."""
        return JSONResponse(build_manifest(texts_of(request), root_of(request)), media_type="application/manifest+json")

    async def choose_language(self, request: Request) -> Response:
        """Remember the language chosen in the menu, and show the same page again."""
        form = await read_form(request)
        place = safe_place(form["next"], PLACES)
        response = RedirectResponse(root_of(request) + place, 303)
        if form["language"] in LANGUAGES:
            self.services.cookies.set_language(response, form["language"], is_secure(request))
        return response

    async def show_privacy(self, request: Request) -> Response:
        """Show the privacy notice with the values of the settings."""
        return self._page(request, "privacy.html", settings=self.services.settings)

    async def preview(self, request: Request) -> Response:
        """Send a copy, which every browser can show, of one of the user's uploads."""
        user, path = user_of(request), request.query_params.get("path", "")
        try:
            picture = await run_in_threadpool(
                self.services.work.opener.open_upload, {"path": path}, Caller(user.id, address_of(request))
            )
        except InputError as error:
            return as_refusal(error, 404).respond(request)
        return Response(await run_in_threadpool(make_thumbnail, picture.pixels, PREVIEW_SIDE), media_type="image/jpeg")
