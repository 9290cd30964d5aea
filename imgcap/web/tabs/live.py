"""Build the tab with a live camera. `static/live.js` sends its frames to the routes of `imgcap.web.live`."""

import gradio as gr

from imgcap.web.gradio_parts.blocks import PRIVATE, Page
from imgcap.web.presentation.rendering import render
from imgcap.web.services import Services
from imgcap.web.texts import texts_of


def build_live_tab(page: Page, services: Services) -> None:  # noqa: ARG001  every tab's function has the same parameters
    """Add the tab to the page that is being built."""

    def begin(request: gr.Request) -> str:
        """Return the tab in the reader's language."""
        return render("live.html", texts_of(request))

    page.load(begin, None, gr.HTML("", padding=False), **PRIVATE)
