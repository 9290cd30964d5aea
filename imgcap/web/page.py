"""Build the page that takes a photo, shows its sharpness at once and its caption a moment later."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgcap.accounts.accounts import Accounts
from imgcap.blur import sharpness as blur
from imgcap.captioner import NUM_ALTERNATIVES
from imgcap.errors import InputError
from imgcap.reading import LENGTHS, Reading, format_confidence, format_warning
from imgcap.web.endpoints import Endpoints, caller_of
from imgcap.web.gauge import gauge_html
from imgcap.web.rendering import templates
from imgcap.web.services import Services
from imgcap.web.work import Work, explain

TITLE = "imgcap: a caption for a sharp photo"

NOTES = (
    "<p>Your photo stays on this server and is deleted after a while; what it showed is in your history. "
    '<a href="./privacy">What is kept about you</a></p>'
)


class Page(gr.Blocks):
    """Blocks that pass to a function what the client sent, without Gradio's own preprocessing.

    Gradio copies the file, or fetches the link, that a payload names before a function of ours has seen it, and ends
    in a traceback where it does not like what it got. So every function of this page judges its own inputs.
    """

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *_: Any, **__: Any) -> list[Any]:
        """Return the inputs as sent, with the components' values for those left out."""
        return [*inputs, *(block.value for block in block_fn.inputs[len(inputs) :])][: len(block_fn.inputs)]


def build_page(services: Services) -> gr.Blocks:
    """Return the whole interface with the named endpoints."""
    handlers = Handlers(services.work, services.accounts)
    with Page(title=TITLE, analytics_enabled=False) as page:
        bar = gr.HTML(render_bar(""), padding=False)
        gr.HTML("<h1>A caption for a sharp photo</h1>", padding=False)
        with gr.Row(elem_classes="imgcap-columns"):
            with gr.Column(elem_id="imgcap-in"):
                photo = gr.Image(
                    label="Photo",
                    placeholder="Drop a photo here\n- or -\nclick to choose one",
                    type="filepath",
                    image_mode=None,
                    sources=["upload", "webcam", "clipboard"],
                    webcam_options=gr.WebcamOptions(mirror=False),  # it would mirror what is stored, too
                    buttons=["fullscreen"],
                    height=380,
                    elem_id="imgcap-photo",
                    alt_text="The photo you gave",
                )
                with gr.Row(elem_classes="imgcap-link"):
                    link = gr.Textbox(
                        label="Or a link to one", placeholder="https://…", max_lines=1, max_length=2048, scale=4
                    )
                    fetch = gr.Button("Fetch", scale=1, min_width=96, elem_id="imgcap-fetch")
                length = gr.Radio(list(LENGTHS), value="normal", label="Caption length", elem_id="imgcap-length")
            with gr.Column(elem_id="imgcap-out"):
                reading = gr.HTML(render_reading(), padding=False, elem_id="imgcap-reading")
                show_map = gr.Button("Show where it is sharp", visible=False, elem_id="imgcap-show-map")
                sharp_map = gr.HTML("", padding=False, elem_id="imgcap-map")

        gr.HTML(NOTES, padding=False, elem_id="imgcap-notes")

        private: Any = {"api_visibility": "private", "show_progress": "hidden"}
        page.load(handlers.greet, None, bar, **private)
        describe = {"fn": handlers.describe, "inputs": [photo, length], "outputs": [reading, show_map, sharp_map]}
        photo.change(**describe, **private, trigger_mode="always_last")
        length.input(**describe, **private, trigger_mode="always_last")
        for event in (fetch.click, link.submit):
            event(handlers.follow_link, link, [photo, reading], **private)
        show_map.click(handlers.draw_map, photo, sharp_map, **private)
        _add_endpoints(Endpoints(services.work))
    return page


def _add_endpoints(endpoints: Endpoints) -> None:
    image = gr.Image(label="image", type="filepath", image_mode=None, visible=False)
    url = gr.Textbox(label="url", visible=False)
    length = gr.Radio(list(LENGTHS), value="normal", label="length", visible=False)
    answer = gr.JSON(label="reading", visible=False)
    alternatives = gr.Number(label="alternatives", value=NUM_ALTERNATIVES, visible=False)
    gr.on([], endpoints.caption, [image, url, length, alternatives], answer, api_name="caption")
    gr.on([], endpoints.check, [image, url], answer, api_name="check")


class Handlers:
    """The functions that run when something on the page is used."""

    def __init__(self, work: Work, accounts: Accounts) -> None:
        self._work = work
        self._accounts = accounts

    def greet(self, request: gr.Request) -> str:
        """Return the bar at the top with the name of the signed-in user."""
        return render_bar(self._accounts.name_of(int(request.username)) or "")

    def describe(self, payload: Any, length: str, request: gr.Request) -> Iterator[tuple[str, Any, str]]:
        """Yield the badge as soon as it is known, then the caption."""
        if payload is None:
            yield render_reading(), gr.update(visible=False), ""
            return
        caller = caller_of(request)
        reading = None
        try:
            picture = self._work.open_upload(payload, caller)
            reading = self._work.measure(picture)
            yield render_reading(reading, step="writing" if reading.valid else "done"), gr.update(visible=True), ""
            for written in self._work.describe(picture, reading, length, caller):
                reading = written.reading
                yield render_reading(reading, reading.error or ""), gr.update(visible=True), ""
        except Exception as error:  # noqa: BLE001  a page answers in any case
            yield render_reading(reading, explain(error)), gr.update(visible=reading is not None), ""

    def follow_link(self, link: str, request: gr.Request) -> tuple[Any, Any]:
        """Fetch a picture and put it into the photo component, whose change event describes it."""
        try:
            if not isinstance(link, str) or not link.strip():
                raise InputError("Type a link to a picture first.")
            return str(self._work.keep_link(link.strip(), caller_of(request))), gr.skip()
        except Exception as error:  # noqa: BLE001  as above
            return gr.skip(), render_reading(error=explain(error))

    def draw_map(self, payload: Any, request: gr.Request) -> str:
        """Return the photo under a map of where it is sharp."""
        try:
            return render_map(self._work.draw_map(self._work.open_upload(payload, caller_of(request))))
        except Exception as error:  # noqa: BLE001  as above
            return render_reading(error=explain(error))


def render_bar(user: str) -> str:
    """Return the bar at the top of the page."""
    return templates.get_template("nav.html").render(root=".", here="photo", user=user)


def render_map(overlay: NDArray[np.uint8]) -> str:
    """Return an RGB picture (height, width, 3) as HTML that holds the picture itself, so that no file is served."""
    png = io.BytesIO()
    Image.fromarray(overlay).save(png, "PNG")
    source = f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
    picture = f'<img src="{source}" alt="Map of where the photo is sharp">'
    return f"<figure>{picture}<figcaption>{blur.MAP_LEGEND}</figcaption></figure>"


def render_reading(reading: Reading | None = None, error: str = "", step: str = "done") -> str:
    """Return what the page says about a photo; `step` is "writing" while the caption is being written."""
    advice = blur.advice(reading.reason) if reading else ""
    announcement = " ".join(filter(None, [error, _announce(reading, advice) if reading and step == "done" else ""]))
    return templates.get_template("reading.html").render(
        reading=reading, error=error, step=step, advice=advice, announcement=announcement, gauge=gauge_html,
        percent=format_confidence, warning=_warning(reading) if step == "done" else "",
    )  # fmt: skip


def _announce(reading: Reading, advice: str) -> str:
    """Return what a screen reader announces once."""
    caption = reading.caption or ("Valid." if reading.valid else f"Invalid, no caption. {advice}")
    return f"{caption} {_warning(reading)}".rstrip()


def _warning(reading: Reading | None) -> str:
    return format_warning(reading.warning, reading.caption) or "" if reading else ""
