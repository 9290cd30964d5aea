"""Serve the routes of the batch tab, which receive its images and send its state and downloads."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import anyio
from anyio.to_thread import run_sync
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from imgcap.blur.sharpness import format_variance
from imgcap.errors import InputError
from imgcap.images.alt_text import AltTextWriter
from imgcap.images.archives import MAGIC
from imgcap.reading import format_confidence
from imgcap.web.batches.batch import Batch, Item
from imgcap.web.batches.downloads import Form, to_csv, to_jsonl, zip_of_copies
from imgcap.web.batches.receiving import add_file
from imgcap.web.batches.store import NO_BATCH
from imgcap.web.gate.requests import address_of, download, read_form, read_number, user_of
from imgcap.web.intake.opening import Caller
from imgcap.web.services import Services
from imgcap.web.texts import texts_of

UNPACKING = 2
"""Number of received files that are added to batches at once, since archives take a while."""
CHUNK = 2**20
NO_PICTURE = "There is no such picture in your batch."

T = TypeVar("T")


def batch_routes(services: Services) -> list[BaseRoute]:
    """Return the routes. The guard lists them for signed-in users."""
    routes = BatchRoutes(services)
    return [
        Route("/batch/state", routes.state),
        Route("/batch/{number}.jpg", routes.thumbnail),
        Route("/batch.csv", routes.csv),
        Route("/batch.jsonl", routes.jsonl),
        Route("/batch.zip", routes.copies),
        Route("/batch/files", routes.receive, methods=["POST"]),
        Route("/batch/edit", routes.edit, methods=["POST"]),
        Route("/batch/cancel", routes.cancel, methods=["POST"]),
        Route("/batch/resume", routes.resume, methods=["POST"]),
        Route("/batch/delete", routes.delete, methods=["POST"]),
    ]


class BatchRoutes:
    """The handlers of the routes."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.batches = services.batches
        self._alt_texts = AltTextWriter()
        self._unpacking = anyio.CapacityLimiter(UNPACKING)

    async def state(self, request: Request) -> Response:
        """Send the batch, or its changes since the page's last request."""
        user, query, texts = user_of(request), request.query_params, texts_of(request)
        report = await run_in_threadpool(
            self.batches.report, user.id, query.get("id", ""), read_number(query.get("since"), -1)
        )
        for item in report["items"]:
            item["error"] = item["error"] and texts.sentence(item["error"])
            if item["blur_variance"] is not None:
                item["variance"] = texts.number(format_variance(item["blur_variance"]))
            if item["edited"] is None and item["caption"]:  # words of the user's own are as sure as the user is
                item["sure"] = item["confidence"] and texts(
                    "reading.sure_short", percent=texts.number(format_confidence(item["confidence"]))
                )
                item["warned"] = item["warning"] and texts("reading.unfamiliar")
        return JSONResponse(report)

    async def receive(self, request: Request) -> Response:
        """Receive one file, an image or an archive of images, as the body of the request."""
        user = user_of(request)
        caller, query = Caller(user.id, address_of(request)), request.query_params
        name, length = query.get("name", "picture"), query.get("length", "normal")
        size = max(0, read_number(request.headers.get("content-length"), CHUNK))
        if size > self.batches.limits.max_bytes:
            raise _too_large(self.batches.limits.max_bytes)
        with self.services.uploads.receiving(user.id, size) as reservation:
            path = self.batches.new_path(await run_in_threadpool(self.batches.get_or_begin, user.id))
            try:
                await self._write(request, path)
                await run_sync(add_file, self.batches, path, name, caller, length, limiter=self._unpacking)
            except FileNotFoundError:
                raise InputError(NO_BATCH) from None
            finally:
                await run_in_threadpool(path.unlink, missing_ok=True)
                reservation.kept = True  # no part of it is outside the batch any more
        return JSONResponse({"ok": True})

    async def _write(self, request: Request, path: Path) -> None:
        """Write the body to a file; unless it is an archive, it may not be much larger than an image may be."""
        written, limit = 0, self.batches.limits.file_bytes + CHUNK
        async with await anyio.open_file(path, "wb") as file:
            async for chunk in request.stream():
                if not written and chunk[:4] in MAGIC:
                    limit = self.batches.limits.max_bytes
                written += len(chunk)
                if written > limit:
                    raise _too_large(limit)
                await file.write(chunk)

    async def edit(self, request: Request) -> Response:
        """Change a caption."""
        form = await read_form(request)
        number, caption = read_number(form["number"], -1), form["caption"]
        await self._apply(request, lambda batch: batch.edit(number, caption), form["id"])
        return JSONResponse({"ok": True})

    async def cancel(self, request: Request) -> Response:
        """Start no further image."""
        await self._apply(request, Batch.cancel, (await read_form(request))["id"])
        return JSONResponse({"ok": True})

    async def resume(self, request: Request) -> Response:
        """Continue with waiting images, and retry failed ones."""
        await self._apply(request, Batch.resume, (await read_form(request))["id"])
        return JSONResponse({"ok": True})

    async def delete(self, request: Request) -> Response:
        """Delete the batch with its images."""
        await run_in_threadpool(self.batches.delete, user_of(request).id, (await read_form(request))["id"])
        return JSONResponse({"ok": True})

    async def thumbnail(self, request: Request) -> Response:
        """Send the thumbnail of an image."""
        number = read_number(request.path_params["number"], -1)
        meant = request.query_params.get("id", "")
        path = await self._apply(request, lambda batch: _thumbnail_path(batch, number), meant)
        try:
            content = await run_in_threadpool(path.read_bytes)
        except FileNotFoundError:
            raise InputError(NO_PICTURE) from None
        return Response(content, media_type="image/jpeg")

    async def csv(self, request: Request) -> Response:
        """Send the results as a CSV table."""
        table = await self._apply(request, lambda batch: to_csv(batch.items))
        return download(table.encode(), "imgcap-batch.csv", "text/csv; charset=utf-8")

    async def jsonl(self, request: Request) -> Response:
        """Send the results as lines of JSON."""
        lines = await self._apply(request, lambda batch: to_jsonl(batch.items))
        return download(lines.encode(), "imgcap-batch.jsonl", "application/jsonl")

    async def copies(self, request: Request) -> Response:
        """Send a ZIP archive of copies with their captions."""
        query = request.query_params
        form: Form = "text" if query.get("form") == "text" else "alt"
        pictures = await self._apply(request, _captioned_files)
        parts = zip_of_copies(pictures, form, self._alt_texts, overwrite=query.get("overwrite") == "1")
        headers = {"Content-Disposition": 'attachment; filename="imgcap-batch.zip"'}
        return StreamingResponse(iterate_in_threadpool(parts), media_type="application/zip", headers=headers)

    async def _apply(self, request: Request, act: Callable[[Batch], T], batch_id: str = "") -> T:
        """Return what `act` returns for the user's batch; see `Batches.apply`."""
        return await run_in_threadpool(self.batches.apply, user_of(request).id, act, batch_id)


def _thumbnail_path(batch: Batch, number: int) -> Path:
    item = batch.find(number)
    if item is None:
        raise InputError(NO_PICTURE)
    return batch.thumbnail_path(item)


def _captioned_files(batch: Batch) -> list[tuple[Item, Path]]:
    """Return all items with their files. Raises InputError if none has a caption."""
    if not any(item.text for item in batch.items):
        raise InputError("No picture of your batch has a caption yet.")
    return [(item, batch.path(item)) for item in batch.items]


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"The file is larger than {limit / 2**20:.3g} MB: send a smaller copy.")
