"""Serve the routes of the batch tab, which receive its images and send its state and downloads."""

from pathlib import Path

import anyio
from anyio.to_thread import run_sync
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from imgcap.errors import InputError
from imgcap.images.archives import MAGIC
from imgcap.web.batches.engine import NO_BATCH
from imgcap.web.requests import address_of, download, read_form, read_number, user_of
from imgcap.web.services import Services
from imgcap.web.work import Caller

UNPACKING = 2
"""Number of received files that are added to batches at once, since archives take a while."""
CHUNK = 2**20


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
        self._unpacking = anyio.CapacityLimiter(UNPACKING)

    async def state(self, request: Request) -> Response:
        """Send the batch, or its changes since the page's last request."""
        user, query = user_of(request), request.query_params
        report = await run_in_threadpool(
            self.batches.report, user.id, query.get("id", ""), read_number(query.get("since"), -1)
        )
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
            path = await run_in_threadpool(self.batches.new_path, user.id)
            try:
                await self._write(request, path)
                await run_sync(self.batches.add, path, name, caller, length, limiter=self._unpacking)
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
        form, user = await read_form(request), user_of(request)
        await run_in_threadpool(self.batches.edit, user.id, read_number(form["number"], -1), form["caption"])
        return JSONResponse({"ok": True})

    async def cancel(self, request: Request) -> Response:
        """Start no further image."""
        await run_in_threadpool(self.batches.cancel, user_of(request).id)
        return JSONResponse({"ok": True})

    async def resume(self, request: Request) -> Response:
        """Continue with waiting images, and retry failed ones."""
        await run_in_threadpool(self.batches.resume, user_of(request).id)
        return JSONResponse({"ok": True})

    async def delete(self, request: Request) -> Response:
        """Delete the batch with its images."""
        await run_in_threadpool(self.batches.delete, user_of(request).id)
        return JSONResponse({"ok": True})

    async def thumbnail(self, request: Request) -> Response:
        """Send the thumbnail of an image."""
        user, number = user_of(request), read_number(request.path_params["number"], -1)
        return Response(await run_in_threadpool(self.batches.thumbnail, user.id, number), media_type="image/jpeg")

    async def csv(self, request: Request) -> Response:
        """Send the results as a CSV table."""
        table = await run_in_threadpool(self.batches.table, user_of(request).id, "csv")
        return download(table.encode(), "imgcap-batch.csv", "text/csv; charset=utf-8")

    async def jsonl(self, request: Request) -> Response:
        """Send the results as lines of JSON."""
        lines = await run_in_threadpool(self.batches.table, user_of(request).id, "jsonl")
        return download(lines.encode(), "imgcap-batch.jsonl", "application/jsonl")

    async def copies(self, request: Request) -> Response:
        """Send a ZIP archive of copies with their captions."""
        user, query = user_of(request), request.query_params
        parts = await run_in_threadpool(
            self.batches.copies,
            user.id,
            "text" if query.get("form") == "text" else "alt",
            overwrite=query.get("overwrite") == "1",
        )
        headers = {"Content-Disposition": 'attachment; filename="imgcap-batch.zip"'}
        return StreamingResponse(iterate_in_threadpool(parts), media_type="application/zip", headers=headers)


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"The file is larger than {limit / 2**20:.3g} MB: send a smaller copy.")
