"""Hold a response back until it is complete, for middleware that must see or change all of it before it is sent."""

from collections.abc import Awaitable, Callable

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send


def hold_back(send: Send, finish: Callable[[int, bytes], Awaitable[bytes]]) -> Send:
    """Return a `send` that collects a response's parts until the last, and then sends the response at once.

    Args:
        send: sends the response.
        finish: takes the status and the whole body, and returns the body to send.
    """
    start: Message = {}
    body = b""

    async def send_whole(message: Message) -> None:
        nonlocal start, body
        if message["type"] == "http.response.start":
            start = message
            return
        body += message.get("body", b"")
        if message.get("more_body", False):
            return
        body = await finish(start["status"], body)
        MutableHeaders(scope=start)["Content-Length"] = str(len(body))
        await send(start)
        await send({"type": "http.response.body", "body": body})

    return send_whole
