"""The named endpoints `/caption` and `/check` of the Gradio API."""

import inspect
from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.components import Component

from imgcap.captioner import NUM_ALTERNATIVES
from imgcap.web.gradio_parts.queueing import CLIENT_GONE
from imgcap.web.intake.opening import Caller
from imgcap.web.work import Work


class Endpoints:
    """The functions behind the API. Gradio shows their names and docstrings as its documentation."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def caption(
        self,
        request: gr.Request,
        image: Any = None,
        url: str | None = None,
        length: str = "normal",
        alternatives: float = NUM_ALTERNATIVES,
        model: str = "",
    ) -> dict[str, Any]:
        """Measure how sharp an image is and, when it is valid, describe it in a sentence.

        A mistake, such as a file that is not an image, is explained in one sentence in `error`.

        Args:
            request: who asks.
            image: The image file (JPEG, PNG, WebP, GIF, HEIC, AVIF, TIFF or BMP); give this or url.
            url: An http or https link to an image on a public address; give this or image.
            length: How long the caption may be: short, normal or long.
            alternatives: How many other captions there may be, at most 3; 0 is fastest.
            model: Which captioner writes; by default the configured one, "attention".

        Returns:
            source, valid, reason (null, "blurred", "shaken", "low_detail", "noisy", "dark" or "bright"), blur_variance,
            threshold, caption, confidence, alternatives, error and warning, in this order. `valid` is exactly
            `blur_variance >= threshold`; an invalid image has no caption. `warning` is null, or "unfamiliar" if the
            image does not look like the photographs that the model learned from, so that its caption is likely wrong.
        """
        chosen = model if isinstance(model, str) else str(model or "")
        count = check_count(alternatives)
        return self._work.caption(image, url, length, caller_of(request), count, chosen).as_dict()

    def check(self, request: gr.Request, image: Any = None, url: str | None = None) -> dict[str, Any]:
        """Measure how sharp an image is, without a caption. The reading is not kept in the history.

        Args:
            request: who asks.
            image: the image file; give this or url.
            url: an http or https link to an image on a public address; give this or image.

        Returns:
            The fields of /caption; `caption` is null and `alternatives` empty.
        """
        return self._work.check(image, url, caller_of(request)).as_dict()


def parameter_texts(endpoint: Callable[..., object]) -> dict[str, str]:
    """Return the docstring's text about each parameter of an endpoint, for the documentation of the API."""
    arguments = (inspect.getdoc(endpoint) or "").partition("Args:\n")[2].partition("\n\n")[0]
    return dict(line.strip().split(": ", 1) for line in arguments.splitlines())


def describe_parameter(component: Component, text: str) -> None:
    """Add a description of a parameter to Gradio's documentation of the API."""
    component.api_info = lambda: type(component).api_info(component) | {"additional_description": text}


def check_count(alternatives: Any) -> int:
    """Return the number of alternatives that a program asked for, limited to the possible range."""
    try:
        return min(max(int(alternatives), 0), NUM_ALTERNATIVES)
    except (TypeError, ValueError, OverflowError):
        return NUM_ALTERNATIVES


def caller_of(request: gr.Request) -> Caller:
    """Return the caller of a Gradio request; the guard lets only signed-in users through."""
    return Caller(int(request.username), request.client.host if request.client else None, CLIENT_GONE.get())
