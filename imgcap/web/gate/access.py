"""List the routes: who may request each, and which begin work, stream, or take JSON.

The guard answers no route that is not listed, so a route that a later Gradio adds stays closed until somebody has
reviewed it.
"""

import re
from typing import Literal

Access = Literal["public", "signed-in", "none"]

STATIC = re.compile(
    r"/(assets|static|svelte|pages)/.+|/favicon\.ico|/robots\.txt|/manifest\.json|(/gradio_api)?/theme\.css"
)
PAGES = re.compile(r"/|/login/?|/login/(register|huggingface|callback)|/privacy|/account|/history(/\d+)?|/logout")
"""Pages that a person may open from another site, by a link or in a frame."""
OWN_PAGES = re.compile(r"/(login|privacy|account|history|logout)\b.*")
"""The app's own pages, which load only the app's own scripts; the other pages are Gradio's."""
ENDPOINT = r"/gradio_api/call/(?:v2/)?(caption|check)"
NAMED_ENDPOINT = r"/gradio_api/call/v2/(caption|check)"
PARAMETERS = {"caption": ("image", "url", "length", "alternatives", "model"), "check": ("image", "url")}
PUBLIC = {
    "GET": re.compile(
        STATIC.pattern + r"|/login/?|/login/(register|huggingface|callback)|/privacy|/gradio_api/healthz"
    ),
    "POST": re.compile(r"/login/?|/login/form|/login/register|/language"),
}
SIGNED_IN = {
    "GET": re.compile(
        r"/|/config/?|/preview|/account(/data)?|/history(\.csv|\.json|/\d+(\.jpg)?)?|/logout"
        r"|/dataset/(picture|list|\d+\.jpg)|/batch/state|/batch/\d+\.jpg|/batch\.(csv|jsonl|zip)"
        r"|/gradio_api/(info/?|openapi\.json|user/?|login_check/?|app_id/?|heartbeat/[^/]+|queue/data|queue/status"
        r"|upload_progress|file=.+)|" + ENDPOINT + r"/[^/]+"
    ),
    "POST": re.compile(
        r"/account/(password|delete|tokens(/revoke)?)|/history/(delete|edit)|/logout"
        r"|/batch/(files|edit|cancel|resume|delete)|/live/(frame|caption)"
        r"|/gradio_api/(upload|queue/join|cancel|reset/?)|" + ENDPOINT + "/?"
    ),
}
BEGINS_WORK = re.compile(r"/gradio_api/(upload|queue/join)|/batch/files|/live/(frame|caption)|" + ENDPOINT + "/?")
STREAMED = {"/gradio_api/upload", "/batch/files"}
"""Routes that read their body while it arrives."""
STREAMS_WORK = re.compile(r"/gradio_api/queue/data|" + ENDPOINT + r"/[^/]+")
TAKES_JSON = re.compile(r"/gradio_api/(queue/join|cancel|reset/?)|" + ENDPOINT + "/?")
TOKEN_OPENS = re.compile(r"/config/?|/gradio_api/.+|/history(\.csv|\.json|/\d+\.jpg)")
"""Routes that an access token opens; all others are for people, who sign in."""
LAUNCH = re.compile(r"/|/gradio_api/startup-events")
"""Routes that `Blocks.launch` requests from its own server before it returns."""


def find_access(method: str, path: str) -> Access:
    """Return who may request a route."""
    lists: tuple[tuple[Access, dict[str, re.Pattern[str]]], ...] = (("public", PUBLIC), ("signed-in", SIGNED_IN))
    for access, patterns in lists:
        pattern = patterns.get("GET" if method == "HEAD" else method)
        if pattern is not None and pattern.fullmatch(path):
            return access
    return "none"
