"""A reverse proxy under https and a path, like those that hosts put before an app."""

import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn
from running import free_port
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

CERTIFICATE = Path(__file__).parent / "samples" / "picture.test.pem"
"""Self-signed, with its key."""
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]
OF_ONE_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "host"}


@contextmanager
def reverse_proxy(upstream: str, path: str = "") -> Iterator[str]:
    """The https address, ending in `path`, at which `upstream` answers as if it were there."""
    client = httpx.AsyncClient(base_url=upstream, timeout=120)

    async def forward(request: Request) -> Response:
        here = request.scope["path"].removeprefix(path) or "/"
        query = request.scope["query_string"]
        headers = [(name, value) for name, value in request.headers.items() if name not in OF_ONE_CONNECTION]
        headers += [
            ("host", request.headers["host"]), ("x-forwarded-proto", "https"), ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-host", request.headers["host"]),
        ]  # fmt: skip
        target = httpx.URL(here, query=query)
        outgoing = client.build_request(request.method, target, headers=headers, content=await request.body())
        answer = await client.send(outgoing, stream=True)

        async def stream() -> AsyncIterator[bytes]:
            async for piece in answer.aiter_raw():
                yield piece
            await answer.aclose()

        response = StreamingResponse(stream(), answer.status_code)
        response.raw_headers = [
            (name, value) for name, value in answer.headers.raw if name.decode().lower() not in OF_ONE_CONNECTION
        ]
        return response

    port = free_port()
    app = Starlette(routes=[Route(f"{path}/{{rest:path}}", forward, methods=METHODS)])
    config = uvicorn.Config(
        app, "127.0.0.1", port, ssl_certfile=CERTIFICATE, ssl_keyfile=CERTIFICATE, log_level="error"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.05)
    try:
        yield f"https://127.0.0.1:{port}{path}"
    finally:
        server.should_exit = True
        thread.join(10)
