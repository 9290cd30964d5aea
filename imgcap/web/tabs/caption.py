"""Build the tab that takes a photo, shows its sharpness at once and its caption a moment later."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr

from imgcap.errors import InputError
from imgcap.reading import LENGTHS, Reading, check_length
from imgcap.web.endpoints import caller_of
from imgcap.web.gradio_parts.blocks import PRIVATE, Page
from imgcap.web.intake.opening import Caller
from imgcap.web.models import Model
from imgcap.web.presentation.rendering import Details, Step, describe_look, render, render_map, render_reading
from imgcap.web.services import Services
from imgcap.web.texts import Texts, texts_of
from imgcap.web.work import Work, explain


def build_caption_tab(page: Page, services: Services) -> None:
    """Add the tab's components and handlers to the page that is being built."""
    handlers, labels = Handlers(services.work), page.labels
    with gr.Column(elem_id="imgcap-stage"):
        photo = gr.Image(
            label=labels("caption.photo"),
            placeholder=labels("caption.drop"),
            type="filepath",
            image_mode=None,
            sources=["upload", "webcam", "clipboard"],
            webcam_options=gr.WebcamOptions(mirror=False),  # mirroring would also change the stored photo
            buttons=["fullscreen"],
            height=430,
            elem_id="imgcap-photo",
            alt_text="",
        )
        with gr.Column(elem_id="imgcap-out"):
            reading = gr.HTML("", padding=False, elem_id="imgcap-reading")
            speech = gr.HTML("", padding=False, elem_id="imgcap-speech")
            show_map = gr.Button(labels("caption.show_map"), visible=False, elem_id="imgcap-show-map")
            sharp_map = gr.HTML("", padding=False, elem_id="imgcap-map")
        with gr.Column(elem_id="imgcap-options"):
            said = gr.HTML("", padding=False, elem_id="imgcap-link-said")
            with gr.Row(elem_classes="imgcap-link"):
                link = gr.Textbox(
                    label=labels("caption.link"),
                    placeholder="https://…",
                    max_lines=1,
                    max_length=2048,
                    scale=4,
                    elem_id="imgcap-link",
                )
                fetch = gr.Button(labels("caption.fetch"), scale=1, min_width=96, elem_id="imgcap-fetch")
            length = gr.Radio(list(LENGTHS), value="normal", label=labels("caption.length"), elem_id="imgcap-length")
            names = [model.name for model in services.work.models]
            model = gr.Radio(
                names, value=names[0], label=labels("model.title"), elem_id="imgcap-model", visible=len(names) > 1
            )
    notes = gr.HTML("", padding=False, elem_id="imgcap-notes")

    page.load(handlers.begin, None, [photo, reading, speech, length, model, notes], **PRIVATE)
    gr.on([fetch.click, link.submit], handlers.follow_link, link, [photo, said], **PRIVATE)
    show_map.click(handlers.draw_map, photo, sharp_map, **PRIVATE)
    # One event for all, so that of several choices the last is shown at the end. It also clears what was said about a
    # link and the map of another photo.
    gr.on(
        [photo.change, length.input, model.input],
        handlers.describe,
        [photo, length, model],
        [reading, show_map, sharp_map, said],
        trigger_mode="always_last",
        **PRIVATE,
    )


class Handlers:
    """The functions that run when a component of the tab is used."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def begin(self, request: gr.Request) -> tuple[Any, str, str, Any, Any, str]:
        """Return the tab's first content, in the reader's language."""
        texts = texts_of(request)
        lengths = [(texts(f"caption.length.{length}"), length) for length in LENGTHS]
        return (
            gr.update(alt_text=texts("caption.photo_alt")),
            render_reading(texts),
            render("voice.html", texts),
            gr.update(choices=lengths),
            gr.update(choices=[(_describe_model(texts, model), model.name) for model in self._work.models]),
            render("notes.html", texts),
        )

    def describe(self, payload: Any, length: str, model: str, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Yield the reading with its badge as soon as possible, then with the caption, then with everything."""
        texts = texts_of(request)
        if payload is None:
            yield render_reading(texts), gr.update(visible=False), "", ""
            return
        reading = None
        yield render_reading(texts, step="opening"), gr.update(visible=False), "", ""
        try:
            for reading, error, step, details in self._steps(payload, length, model, caller_of(request)):
                shown = render_reading(texts, reading, error, step, details)
                yield shown, gr.update(visible=True), "", gr.skip()
        except Exception as error:  # noqa: BLE001  the page must answer in any case
            shown = render_reading(texts, reading, explain(error))
            yield shown, gr.update(visible=reading is not None), "", gr.skip()

    def _steps(
        self, payload: Any, length: str, model: str, caller: Caller
    ) -> Iterator[tuple[Reading, str, Step, Details]]:
        wanted = check_length(length)
        began = time.perf_counter()
        picture = self._work.opener.open_upload(payload, caller)
        reading = picture.reading
        details = Details(length=wanted, checked=time.perf_counter() - began)
        if reading.valid:
            yield reading, "", "writing", details
        began = time.perf_counter()
        for step in self._work.describe(picture, wanted, caller, model=model):
            reading = step.reading
            if reading.caption and details.described is None:
                details = replace(details, described=time.perf_counter() - began)
            details = replace(details, entry=step.entry)
            yield reading, reading.error or "", "done" if step.whole else "more", details
        if reading.caption and (looks := self._work.attend(picture, reading.caption, model)):
            details = replace(details, looks=[describe_look(*look) for look in looks])
            yield reading, reading.error or "", "done", details

    def follow_link(self, link: str, request: gr.Request) -> Iterator[tuple[Any, str]]:
        """Fetch an image and put it into the photo component, whose change event describes it."""
        texts = texts_of(request)
        try:
            if not isinstance(link, str) or not link.strip():
                raise InputError(texts("caption.no_link"))
            yield gr.skip(), render("busy.html", texts, said=texts("caption.fetching"))
            yield str(self._work.opener.keep_link(link.strip(), caller_of(request))), ""
        except Exception as error:  # noqa: BLE001  as above
            yield gr.skip(), render("error.html", texts, error=explain(error))

    def draw_map(self, payload: Any, request: gr.Request) -> Iterator[str]:
        """Yield that the map is being drawn, and then the photo beside a map of where it is sharp."""
        texts = texts_of(request)
        yield render("busy.html", texts, said=texts("map.drawing"))
        try:
            pixels = self._work.opener.open_upload(payload, caller_of(request)).pixels
            overlay, threshold = self._work.draw_map(pixels)
            yield render_map(pixels, overlay, threshold, texts)
        except Exception as error:  # noqa: BLE001  as above
            yield render("error.html", texts, error=explain(error))


def _describe_model(texts: Texts, model: Model) -> str:
    """Return a model's name for people, with its measured scores if there are any."""
    key = f"model.{model.name}"
    name, scores = texts(key) if key in texts.messages else model.name, model.scores()
    if not {"CIDEr", "BLEU-4"} <= scores.keys():
        return name
    cider, bleu = (texts.number(f"{scores[metric]:.2f}") for metric in ("CIDEr", "BLEU-4"))
    return f"{name} (CIDEr {cider}, BLEU-4 {bleu})"
