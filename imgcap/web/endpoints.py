"""The named endpoints `/caption` and `/check`: what a program gets, and what the page is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray

from imgcap.accounts.history import make_thumbnail
from imgcap.errors import InputError
from imgcap.reading import Reading, check_length
from imgcap.web.services import Services
from imgcap.web.uploads import Source

MAX_URL = 2_048


@dataclass(frozen=True)
class Caller:
    """Who asks, as the throttle and the history know them."""

    name: str
    address: str | None


@dataclass(frozen=True)
class Picture:
    """A decoded picture and how it came.

    `name` is what a reading shows as its source: a file's name or the link as typed, never a path of this machine.
    """

    pixels: NDArray[np.uint8]
    name: str
    source: Source


class Endpoints:
    """Pictures in, readings out, for signed-in users."""

    def __init__(self, services: Services) -> None:
        self.services = services

    # Gradio shows these two methods' names and docstrings as the documentation of the API.
    def caption(
        self, request: gr.Request, image: Any = None, url: str | None = None, length: str = "normal"
    ) -> dict[str, Any]:
        """Measure how sharp a picture is and, when it is valid, describe it in a sentence.

        A mistake, such as a file that is no picture, is told in one sentence in `error`.

        Args:
            request: who asks.
            image: the picture file (JPEG, PNG, WebP, GIF, HEIC, AVIF, TIFF or BMP); give this or url.
            url: an http or https link to a picture on a public address; give this or image.
            length: how long the caption may be: short, normal or long.

        Returns:
            source, valid, reason (null, "blurred" or "low_detail"), blur_variance, threshold, caption, confidence,
            alternatives and error, in this order. `valid` is exactly `blur_variance >= threshold`; an invalid
            picture has no caption.
        """
        caller = caller_of(request)
        return self._answer(
            image, url, caller, lambda picture: self.describe(picture, self.measure(picture), length, caller)
        ).as_dict()

    def check(self, request: gr.Request, image: Any = None, url: str | None = None) -> dict[str, Any]:
        """Measure how sharp a picture is, and write no caption. Not counted and not kept.

        Args:
            request: who asks.
            image: the picture file; give this or url.
            url: an http or https link to a picture on a public address; give this or image.

        Returns:
            The fields of /caption; `caption` is null and `alternatives` empty.
        """
        return self._answer(image, url, caller_of(request), self.measure).as_dict()

    def measure(self, picture: Picture) -> Reading:
        """How sharp the picture is; no caption."""
        return self.services.captioner.check(picture.pixels, picture.name)

    def describe(self, picture: Picture, reading: Reading, length: str, caller: Caller) -> Reading:
        """The reading that `measure` gave, with its caption; counted and kept in the caller's history.

        Raises:
            Throttled: the caller has used up the captions allowed.
            InputError: there is no such length.
        """
        wanted = check_length(length)
        if reading.valid:
            self.services.throttle.hit("caption", account=caller.name, address=caller.address)
            reading = self.services.captioner.complete(reading, picture.pixels, wanted)
        self.services.history.add(caller.name, reading, make_thumbnail(picture.pixels), picture.source)
        return reading

    def open_upload(self, payload: Any, caller: Caller) -> Picture:
        """The picture that a Gradio file payload names.

        Raises:
            InputError: it is not an upload of the caller's, or no picture.
        """
        path = payload.get("path") if isinstance(payload, dict) else None
        if not isinstance(path, str):
            raise InputError("The image must be an uploaded file; in Python give gradio_client's handle_file(path).")
        uploads = self.services.uploads
        pixels = self.services.images.decode(uploads.read(path, caller.name))
        return Picture(pixels, Path(path).name, uploads.source_of(path))

    def open_link(self, url: str) -> Picture:
        """The picture that a link leads to.

        Raises:
            InputError: it leads to none, or nowhere.
        """
        return Picture(self.services.images.decode(self.services.images.fetch(url)), url, "link")

    def _answer(self, image: Any, url: Any, caller: Caller, work: Callable[[Picture], Reading]) -> Reading:
        source = _name_source(image, url)
        try:
            return work(self._open(image, url, caller))
        except InputError as error:
            return self.services.captioner.refuse(str(error), source)

    def _open(self, image: Any, url: Any, caller: Caller) -> Picture:
        if url is not None and not isinstance(url, str):
            raise InputError("The url must be a text.")
        link = (url or "").strip()
        if bool(image) == bool(link):
            raise InputError("Give exactly one of image and url.")
        if image and (linked := _linked(image)):  # gradio_client's handle_file takes links too
            link = linked
        return self.open_link(link) if link else self.open_upload(image, caller)


def caller_of(request: gr.Request) -> Caller:
    """Who sent a Gradio request; the guard lets nobody through who is not signed in."""
    return Caller(request.username, request.client.host if request.client else None)


def _linked(image: Any) -> str | None:
    path = image.get("path") if isinstance(image, dict) else None
    return path if isinstance(path, str) and path.startswith(("http://", "https://")) else None


def _name_source(image: Any, url: Any) -> str | None:
    """What a failed reading shows as its source."""
    if isinstance(url, str) and url.strip() and not image:
        return url.strip()[:MAX_URL]
    path = image.get("path") if isinstance(image, dict) else None
    return (_linked(image) or Path(path).name)[:MAX_URL] if isinstance(path, str) else None
