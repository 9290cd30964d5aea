"""Build the tab for many photos. `static/batch.js` draws its table from the routes of `imgcap.web.batches`."""

from typing import Any

import gradio as gr

from imgcap.accounts.history import MAX_CAPTION
from imgcap.images.alt_text import AltTextWriter
from imgcap.reading import LENGTHS, REASONS
from imgcap.web.gradio_parts.blocks import PRIVATE, Page
from imgcap.web.presentation.rendering import render
from imgcap.web.services import Services
from imgcap.web.texts import texts_of

VERDICTS = ((True, None), *((False, reason) for reason in REASONS))


def build_batch_tab(page: Page, services: Services) -> None:
    """Add the tab to the page that is being built."""
    settings = services.settings
    shown: dict[str, Any] = {
        "lengths": LENGTHS,
        "verdicts": VERDICTS,
        "max_caption": MAX_CAPTION,
        "hours": settings.batch_hours,
        "files": settings.batch_files,
        "megabytes": settings.upload_bytes_per_account // 2**20,
        "writes_alt_texts": AltTextWriter.is_available(),
    }

    def begin(request: gr.Request) -> str:
        """Return the tab in the reader's language."""
        return render("batch.html", texts_of(request), **shown)

    page.load(begin, None, gr.HTML("", padding=False), **PRIVATE)
