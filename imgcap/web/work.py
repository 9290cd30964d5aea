"""What a signed-in user does with pictures. The page, the API and every other interface of the server call this."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgcap.accounts.history import History, make_thumbnail
from imgcap.accounts.throttling import Throttle
from imgcap.blur import sharpness as blur
from imgcap.captioner import Captioner
from imgcap.errors import InputError
from imgcap.reading import Reading, check_length
from imgcap.web.uploads import Source, Uploads

MAX_URL = 2_048


@dataclass(frozen=True)
class Caller:
    """Who asks, as the throttle, the history and the uploads know them."""

    user_id: int
    address: str | None


@dataclass(frozen=True)
class Picture:
    """A decoded picture and how it came.

    `name` is what a reading shows as its source: a file's name or the link as typed, never a path of this machine.
    """

    pixels: NDArray[np.uint8]
    name: str
    source: Source


class Work:
    """Pictures in, readings out. Every method may be called from several threads at once.

    Args:
        captioner: measures and describes.
        throttle: counts what a caller asks for.
        history: keeps the readings of `describe`.
        uploads: knows whose the uploaded files are.
    """

    def __init__(self, captioner: Captioner, throttle: Throttle, history: History, uploads: Uploads) -> None:
        self._captioner = captioner
        self._images = captioner.images
        self._throttle = throttle
        self._history = history
        self._uploads = uploads

    def caption(self, image: Any, url: Any, length: str, caller: Caller) -> Reading:
        """Return the Reading, with captions, of an upload or a link; a user's mistake stands in its `error`."""

        def describe(picture: Picture) -> Reading:
            return self.describe(picture, self.measure(picture), length, caller)

        return self._answer(image, url, caller, describe)

    def check(self, image: Any, url: Any, caller: Caller) -> Reading:
        """Return the Reading, without captions, of an upload or a link; a user's mistake stands in its `error`."""
        return self._answer(image, url, caller, self.measure)

    def measure(self, picture: Picture) -> Reading:
        """Return how sharp a picture is, without a caption."""
        return self._captioner.check(picture.pixels, picture.name)

    def describe(self, picture: Picture, reading: Reading, length: str, caller: Caller) -> Reading:
        """Return the Reading that `measure` gave, with captions if it is valid. Counted, and kept in the history.

        Raises:
            Throttled: the caller has used up the captions allowed.
            InputError: there is no such length.
        """
        wanted = check_length(length)
        if reading.valid:
            self._throttle.hit("caption", account=caller.user_id, address=caller.address)
            reading = self._captioner.complete(reading, picture.pixels, wanted)
        self._history.add(caller.user_id, reading, make_thumbnail(picture.pixels), picture.source)
        return reading

    def draw_map(self, picture: Picture) -> NDArray[np.uint8]:
        """Return a picture (h, w, 3) RGB that shows where `picture` is sharp; `blur.MAP_LEGEND` explains it."""
        return blur.sharpness_overlay(picture.pixels, self._captioner.settings.blur_threshold)

    def open_upload(self, payload: Any, caller: Caller) -> Picture:
        """Return the picture that a Gradio file payload names.

        Raises:
            InputError: the file is not an upload of the caller's, or no picture.
        """
        path = payload.get("path") if isinstance(payload, dict) else None
        if not isinstance(path, str):
            raise InputError("The image must be an uploaded file; in Python give gradio_client's handle_file(path).")
        pixels = self._images.decode(self._uploads.read(path, caller.user_id))
        return Picture(pixels, Path(path).name, self._uploads.source_of(path))

    def open_link(self, url: str) -> Picture:
        """Return the picture at a link.

        Raises:
            InputError: the link cannot be followed, or does not lead to a picture.
        """
        return Picture(self._images.decode(self._images.fetch(url)), url, "link")

    def keep_link(self, url: str, caller: Caller) -> Path:
        """Fetch the picture at a link, keep it as an upload of the caller's, and return its path.

        Raises:
            InputError: as `open_link`.
        """
        data = self._images.fetch(url)
        self._images.decode(data)
        return self._uploads.save_link(data, caller.user_id)

    def _answer(self, image: Any, url: Any, caller: Caller, work: Callable[[Picture], Reading]) -> Reading:
        try:
            return work(self._open(image, url, caller))
        except InputError as error:
            return self._captioner.refuse(str(error), _name_source(image, url))

    def _open(self, image: Any, url: Any, caller: Caller) -> Picture:
        if url is not None and not isinstance(url, str):
            raise InputError("The url must be a text.")
        link = (url or "").strip()
        if bool(image) == bool(link):
            raise InputError("Give exactly one of image and url.")
        if image and (linked := _linked(image)):  # gradio_client's handle_file takes links too
            link = linked
        return self.open_link(link) if link else self.open_upload(image, caller)


def _linked(image: Any) -> str | None:
    path = image.get("path") if isinstance(image, dict) else None
    return path if isinstance(path, str) and path.startswith(("http://", "https://")) else None


def _name_source(image: Any, url: Any) -> str | None:
    """Return what a failed reading shows as its source."""
    if isinstance(url, str) and url.strip() and not image:
        return url.strip()[:MAX_URL]
    path = image.get("path") if isinstance(image, dict) else None
    return (_linked(image) or Path(path).name)[:MAX_URL] if isinstance(path, str) else None
