"""Serve the routes of the data-set tab, which send parts of it as HTML, and the images."""

import secrets

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from imgcap.accounts.history import make_thumbnail
from imgcap.accounts.throttling import Kind
from imgcap.errors import InputError
from imgcap.web.dataset.parquet import NO_PICTURE
from imgcap.web.dataset.split import Scored, TestSplit
from imgcap.web.gate.requests import address_of, read_number, user_of
from imgcap.web.presentation.rendering import render
from imgcap.web.services import Services
from imgcap.web.texts import texts_of

SIDE = 768
"""Longer side of the images that are sent, in pixels."""
MOST = 24
"""Maximum number of images in a list."""


def dataset_routes(services: Services) -> list[BaseRoute]:
    """Return the routes. The guard lists them for signed-in users; without a data set they answer 400."""
    routes = DatasetRoutes(services)
    return [
        Route("/dataset/picture", routes.show),
        Route("/dataset/list", routes.list_pictures),
        Route("/dataset/{number}.jpg", routes.picture),
    ]


class DatasetRoutes:
    """The handlers of the routes."""

    def __init__(self, services: Services) -> None:
        self.services = services

    async def show(self, request: Request) -> Response:
        """Send the image of a number, or a random one, with all captions and scores."""
        split = self._split()
        number = read_number(request.query_params.get("number"), -1)
        scored = await run_in_threadpool(self._describe, request, split, number)
        shown = {"one": scored, "total": len(split)}
        return HTMLResponse(render("dataset_picture.html", texts_of(request), **shown))

    async def list_pictures(self, request: Request) -> Response:
        """Send the images that a search finds, or the best or worst of those captioned so far."""
        split, query = self._split(), request.query_params
        order, text = query.get("order"), query.get("q", "")[:200]
        found = await run_in_threadpool(_find, split, order, text)
        shown = {
            "found": found, "order": order, "most": MOST, "captioned": split.captioned, "total": len(split),
            "mean": split.mean,
        }  # fmt: skip
        return HTMLResponse(render("dataset_list.html", texts_of(request), **shown))

    async def picture(self, request: Request) -> Response:
        """Send an image as JPEG."""
        split, number = self._split(), read_number(request.path_params["number"], -1)
        await run_in_threadpool(self._count, request, "picture")
        pixels = await run_in_threadpool(split.picture, number)
        return Response(await run_in_threadpool(make_thumbnail, pixels, SIDE), media_type="image/jpeg")

    def _split(self) -> TestSplit:
        if self.services.split is None:
            raise InputError("This server has no data set; its operator can set IMGCAP_DATASET.")
        return self.services.split

    def _describe(self, request: Request, split: TestSplit, number: int) -> Scored:
        if number < 0:
            if not len(split):
                raise InputError(split.problem or NO_PICTURE)
            number = secrets.randbelow(len(split))
        known = split.get(number)
        if known.caption is None:
            self._count(request, "caption")
        return split.describe(number, user_of(request).id)

    def _count(self, request: Request, kind: Kind) -> None:
        self.services.throttle.hit(kind, account=user_of(request).id, address=address_of(request))


def _find(split: TestSplit, order: str | None, text: str) -> list[Scored]:
    if order == "best":
        return split.rank("best", MOST)
    return split.rank("worst", MOST) if order == "worst" else split.search(text, MOST)
