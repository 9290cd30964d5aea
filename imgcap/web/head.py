"""Put the language at the head of Gradio's page.

Gradio's frontend asks the browser for its language as soon as it runs, and inserts the `head` given to `launch` only
later. So the script that tells it the language of the request has to be in the page when it is sent.
"""

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imgcap.web.texts import language_script, texts_of


class LanguageAtHead:
    """ASGI middleware that puts `language_script` into Gradio's page."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"] == "/":
            script = f"<script>{language_script(texts_of(Request(scope)))}</script>"
            send = _inserting(script.encode(), send)
        await self.app(scope, receive, send)


def _inserting(script: bytes, send: Send) -> Send:
    start: Message = {}
    body = b""

    async def send_with_script(message: Message) -> None:
        nonlocal start, body
        if message["type"] == "http.response.start":
            start = message
            return
        body += message.get("body", b"")
        if message.get("more_body", False):
            return
        body = body.replace(b"<head>", b"<head>" + script, 1)
        MutableHeaders(scope=start)["Content-Length"] = str(len(body))
        await send(start)
        await send({"type": "http.response.body", "body": body})

    return send_with_script
