"""Add the headers with which browsers protect the app's pages."""

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import Message, Send

from imgcap.web.gate.access import OWN_PAGES, STATIC

GRADIO_CSP = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'"
)
OWN_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; manifest-src 'self'; "
    "base-uri 'none'; form-action 'self'"
)


def with_security_headers(request: Request, send: Send, frame_ancestors: str) -> Send:
    """Return `send` with these headers added to the response.

    Args:
        request: what is answered.
        send: sends the response.
        frame_ancestors: sources (of Content-Security-Policy) whose pages may show the app in a frame.
    """
    path, secure = str(request.scope["path"]), request.scope["scheme"] == "https"
    csp = OWN_CSP if OWN_PAGES.fullmatch(path) else GRADIO_CSP

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Content-Security-Policy"] = f"{csp}; frame-ancestors {frame_ancestors}"
            headers["Permissions-Policy"] = "camera=(self), microphone=(), geolocation=(), payment=(), usb=()"
            headers["X-Content-Type-Options"] = "nosniff"
            headers["Referrer-Policy"] = "same-origin"
            headers["Cross-Origin-Resource-Policy"] = "same-origin"
            if secure:
                headers["Strict-Transport-Security"] = "max-age=31536000"
            if not STATIC.fullmatch(path):
                headers["Cache-Control"] = "no-store"
        await send(message)

    return send_with_headers
