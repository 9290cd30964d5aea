"""Build the tab that explains how the app works, what was measured, and what goes wrong."""

from functools import lru_cache

import gradio as gr

from imgcap.blur.sharpness import format_variance
from imgcap.web.gradio_parts.blocks import PRIVATE, Page
from imgcap.web.presentation.edges import BLURRED_SIGMA, SHARP_SIGMA, draw_edge, edge, laplacian
from imgcap.web.presentation.measurements import read_measurements
from imgcap.web.presentation.rendering import render
from imgcap.web.services import Services
from imgcap.web.texts import texts_of

SCORES = ("BLEU-4", "METEOR", "CIDEr")
"""Metrics to show, in order, if they were measured."""


def build_how_tab(page: Page, services: Services) -> None:
    """Add the tab's components and handlers to the page that is being built."""
    settings = services.settings
    measured = lru_cache(maxsize=1)(lambda: read_measurements(settings.model))

    def begin(request: gr.Request) -> str:
        texts, model = texts_of(request), measured()
        sharp, blurred = (
            texts.number(format_variance(float(laplacian(edge(sigma)).var()))) for sigma in (SHARP_SIGMA, BLURRED_SIGMA)
        )
        return render(
            "how.html",
            texts,
            model=model,
            warns=model.knows_unfamiliar and settings.unfamiliar != "off",
            name=services.work.models.default.name,
            scores={name: model.scores[name] for name in SCORES if model.scores.get(name) is not None},
            threshold=texts.number(format_variance(settings.blur_threshold)),
            sharp=sharp,
            blurred=blurred,
            sharp_drawing=draw_edge(SHARP_SIGMA, texts("how.edge_sharp", variance=sharp)),
            blurred_drawing=draw_edge(BLURRED_SIGMA, texts("how.edge_blurred", variance=blurred)),
        )

    page.load(begin, None, gr.HTML("", padding=False), **PRIVATE)
