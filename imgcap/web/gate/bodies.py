r"""Read request bodies within limits of size and time, and parse strict JSON.

Python reads `NaN`, `1e999` and `"\ud800"` from JSON but cannot write them again, so each would cause a traceback in
Gradio, with the whole body in the log.
"""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

SILENT_SECONDS = 15.0
"""Seconds that a client may send nothing in the middle of a body."""
BYTES_PER_SECOND = 16 * 2**10
"""Minimum mean speed of a body, after a first allowance of `SILENT_SECONDS`."""


@dataclass
class BodyLimit:
    """Bounds a request's body, whatever its Content-Length says.

    `receive` replaces the server's. It raises HTTPException 413 if more than `max_bytes` arrive, and 408 if they arrive
    too slowly.
    """

    inner: Receive
    max_bytes: int

    def __post_init__(self) -> None:
        self._received = 0
        self._complete = False
        self._began = time.monotonic()

    async def receive(self) -> Message:
        """Return the next part of the body; after its end, wait without a limit for the client to disconnect."""
        if self._complete:
            return await self.inner()
        allowed = 2 * SILENT_SECONDS + self.max_bytes / BYTES_PER_SECOND
        left = min(SILENT_SECONDS, self._began + allowed - time.monotonic())
        try:
            async with asyncio.timeout(max(0.0, left)):
                message = await self.inner()
        except TimeoutError:
            self._complete = True
            raise HTTPException(408, "The request came too slowly; send it again.", {"Connection": "close"}) from None
        self._received += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._received > self.max_bytes:
            raise HTTPException(413, f"The request is larger than {self.max_bytes / 2**20:.3g} MB; send less.")
        return message

    async def read_all(self) -> bytes:
        """Return the whole body. Raises as `receive`, and ConnectionError if the client disconnects before its end."""
        body = bytearray()
        while not self._complete:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError("the client went away")
            body += message.get("body", b"")
        return bytes(body)


def replay(body: bytes, then: Receive) -> Receive:
    """Return a `receive` that gives a body that was already read, and then calls `then`."""
    given = False

    async def receive() -> Message:
        nonlocal given
        if given:
            return await then()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`.

    Raises:
        HTTPException: 400 if it is not strict JSON in UTF-8, or not an object.
    """
    try:
        value = json.loads(body.decode())
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise HTTPException(
            400, "The request must be JSON in UTF-8, without NaN, infinite numbers or halves of characters."
        ) from None
    if not isinstance(value, dict):
        raise HTTPException(400, 'The request must be a JSON object, such as {"data": [...]}.')
    return value
