"""Build the tab with the images of a data set's test split, which `static/dataset.js` shows."""

import gradio as gr

from imgcap.web.gradio_parts.blocks import PRIVATE, Page
from imgcap.web.presentation.rendering import render
from imgcap.web.services import Services
from imgcap.web.texts import texts_of


def build_dataset_tab(page: Page, services: Services) -> None:
    """Add the tab to the page that is being built."""

    def begin(request: gr.Request) -> str:
        """Return the tab in the reader's language."""
        return render("dataset.html", texts_of(request), split=services.split)

    page.load(begin, None, gr.HTML("", padding=False), **PRIVATE)
