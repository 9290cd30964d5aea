"""Insert the language into the head of Gradio's page.

Gradio's frontend reads the browser's language as soon as it runs, and inserts the `head` given to `launch` only later.
Therefore the script that sets the language of the request must be in the page when it is sent.
"""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from imgcap.web.gate.answers import hold_back
from imgcap.web.texts import language_script, texts_of


class LanguageAtHead:
    """ASGI middleware that inserts `language_script` into Gradio's page."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"] == "/":
            script = f"<head><script>{language_script(texts_of(Request(scope)))}</script>".encode()

            async def with_script(_: int, page: bytes) -> bytes:
                return page.replace(b"<head>", script, 1)

            send = hold_back(send, with_script)
        await self.app(scope, receive, send)
