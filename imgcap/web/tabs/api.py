"""Build the tab with snippets that call this server's API."""

import json

import gradio as gr
from markupsafe import Markup, escape

from imgcap.reading import Caption, Reading
from imgcap.web.gradio_parts.blocks import PRIVATE, Page
from imgcap.web.presentation.rendering import TEMPLATES, render
from imgcap.web.services import Services
from imgcap.web.texts import texts_of

SNIPPETS = {
    language: (TEMPLATES / "snippets" / f"{language}.txt").read_text(encoding="utf-8").rstrip()
    for language in ("python", "javascript", "curl")
}
"""Programs that run unchanged once the server's address and a token are filled in."""
SERVER, TOKEN = "http://127.0.0.1:7860", "imgcap_YOUR_TOKEN"


def build_api_tab(page: Page, services: Services) -> None:
    """Add the tab's components and handlers to the page that is being built."""
    threshold = services.settings.blur_threshold

    def begin(request: gr.Request) -> str:
        snippets = {language: mark_token(fill_in(language, address_of(request))) for language in SNIPPETS}
        return render("api.html", texts_of(request), snippets=snippets, answer=example(threshold))

    page.load(begin, None, gr.HTML("", padding=False), **PRIVATE)


def fill_in(language: str, server: str, token: str = TOKEN) -> str:
    """Return a snippet with the address of a server and a token in it."""
    return SNIPPETS[language].replace(SERVER, server).replace(TOKEN, token)


def mark_token(snippet: str) -> Markup:
    """Return a snippet as HTML with its token marked, so that the page's script can fill it in."""
    return escape(snippet).replace(TOKEN, Markup('<span class="imgcap-token">{}</span>').format(TOKEN))


def address_of(request: gr.Request) -> str:
    """Return the address of this server as the browser that sent a request sees it."""
    host, root = request.headers["host"], request.request.scope.get("root_path", "")
    return f"{request.url.scheme}://{host}{root}".rstrip("/")


def example(threshold: float) -> str:
    """Return an example of the API's answer as JSON."""
    other = Caption("A brown dog is running in a field.", 0.61)
    reading = Reading(
        "photo.jpg", True, None, 10 * threshold, threshold, "A dog runs through the grass.", 0.72, (other,)
    )
    return json.dumps(reading.as_dict(), indent=2)
