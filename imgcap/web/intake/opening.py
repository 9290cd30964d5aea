"""Open the images that a signed-in user gives: uploads, links, files of a batch, and a camera's frames."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgcap.accounts.throttling import Throttle
from imgcap.captioner import Captioner
from imgcap.errors import InputError
from imgcap.images.sandbox import CHILDREN
from imgcap.reading import Reading
from imgcap.web.intake.turns import Turns
from imgcap.web.intake.uploads import Source, Uploads

MAX_URL = 2_048
FRAME_PIXELS = 2_000_000
"""Maximum number of pixels of a camera's frame, so that no frame takes long."""


@dataclass(frozen=True)
class Caller:
    """The user who asks, for the throttle, the history and the uploads.

    `gone` is done once the client that waits for the answer has left; None if that is not noticed.
    """

    user_id: int
    address: str | None
    gone: "Future[None] | None" = field(default=None, compare=False)


@dataclass(frozen=True)
class Picture:
    """A decoded image, its Reading without captions, and where it came from.

    The Reading's source is a file's name or the link as typed, never a path of this machine.
    """

    pixels: NDArray[np.uint8]
    reading: Reading
    source: Source


class Opener:
    """Opens and measures images. Several threads may call every method at once.

    Links and decoding take long, so each has a limited number of places, and one user gets only a few of each kind, so
    that no user's links keep the others waiting.

    Args:
        captioner: fetches, decodes and measures images.
        throttle: counts the caller's requests.
        uploads: knows the owners of the uploaded files.
    """

    def __init__(self, captioner: Captioner, throttle: Throttle, uploads: Uploads) -> None:
        self._captioner = captioner
        self._images = captioner.images
        self._throttle = throttle
        self._uploads = uploads
        self._links = Turns(total=16, per_user=2)
        self._decoders = Turns(total=CHILDREN, per_user=1)

    def open(self, image: Any, url: Any, caller: Caller, *, unhurried: bool = False) -> Picture:
        """Return the image of a Gradio file payload or at a link, exactly one of which must be given, and count it.

        Args:
            image: payload of the file; a link in its place is followed.
            url: the link.
            caller: who asks.
            unhurried: as for `open_upload`.

        Raises:
            Throttled: the caller's allowance of images is used up.
            InputError: both or neither are given, or as for `open_upload` and `open_link`.
        """
        if url is not None and not isinstance(url, str):
            raise InputError("The url must be a text.")
        link = (url or "").strip()
        if bool(image) == bool(link):
            raise InputError("Give exactly one of image and url.")
        if image and (linked := _linked(image)):  # gradio_client's handle_file takes links too
            link = linked
        if link:
            return self.open_link(link, caller, unhurried=unhurried)
        return self.open_upload(image, caller, unhurried=unhurried)

    def open_upload(self, payload: Any, caller: Caller, *, unhurried: bool = False) -> Picture:
        """Return the image of a Gradio file payload, and count it.

        Args:
            payload: of the file.
            caller: who asks.
            unhurried: leave a decoder and the processor to others.

        Raises:
            Throttled: the caller's allowance of images is used up.
            InputError: the file is not an upload of the caller, or not an image.
        """
        path = payload.get("path") if isinstance(payload, dict) else None
        if not isinstance(path, str):
            raise InputError("The image must be an uploaded file; in Python give gradio_client's handle_file(path).")
        self._count(caller)
        with self._decoders.turn(caller.user_id, unhurried=unhurried):  # no file that waits is in memory
            data = self._uploads.read(path, caller.user_id)
            pixels, reading = self._captioner.open(data, Path(path).name, unhurried=unhurried)
        return Picture(pixels, reading, self._uploads.source_of(path))

    def open_link(self, url: str, caller: Caller, *, unhurried: bool = False) -> Picture:
        """Return the image at a link, and count it.

        Args:
            url: the link.
            caller: who asks.
            unhurried: as for `open_upload`.

        Raises:
            Throttled: the caller's allowance of images is used up.
            InputError: the link cannot be followed, or does not lead to an image.
        """
        return self._follow(url, caller, unhurried=unhurried)[1]

    def keep_link(self, url: str, caller: Caller) -> Path:
        """Fetch the image at a link, count it, store it as an upload of the caller, and return its path.

        Raises:
            InputError: as for `open_link`.
        """
        return self._uploads.save_link(self._follow(url, caller)[0], caller.user_id)

    def open_file(self, data: bytes, name: str, caller: Caller) -> tuple[NDArray[np.uint8], Reading]:
        """Return the pixels (H, W, 3) and the Reading of a file that the server has, unhurried and without counting it.

        Raises:
            InputError: the data are not an image.
        """
        with self._decoders.turn(caller.user_id, unhurried=True):
            return self._captioner.open(data, name, unhurried=True)

    def open_frame(self, data: bytes, caller: Caller) -> tuple[NDArray[np.uint8], Reading]:
        """Return the pixels (H, W, 3) of a camera's frame and its Reading, and count it as a frame.

        Raises:
            Throttled: the caller's allowance of frames is used up.
            InputError: the data are not an image, or have more than `FRAME_PIXELS`.
        """
        self._throttle.hit("frame", account=caller.user_id, address=caller.address)
        with self._decoders.turn(caller.user_id):
            return self._captioner.open(data, max_pixels=FRAME_PIXELS)

    def _follow(self, url: str, caller: Caller, *, unhurried: bool = False) -> tuple[bytes, Picture]:
        self._count(caller)
        with self._links.turn(caller.user_id):
            data = self._images.fetch(url)
            with self._decoders.turn(caller.user_id, unhurried=unhurried):
                return data, Picture(*self._captioner.open(data, url[:MAX_URL], unhurried=unhurried), "link")

    def _count(self, caller: Caller) -> None:
        self._throttle.hit("picture", account=caller.user_id, address=caller.address)


def name_source(image: Any, url: Any) -> str | None:
    """Return the source of the Reading of an image that could not be opened."""
    if isinstance(url, str) and url.strip() and not image:
        return url.strip()[:MAX_URL]
    path = image.get("path") if isinstance(image, dict) else None
    return (_linked(image) or Path(path).name)[:MAX_URL] if isinstance(path, str) else None


def _linked(image: Any) -> str | None:
    path = image.get("path") if isinstance(image, dict) else None
    return path if isinstance(path, str) and path.startswith(("http://", "https://")) else None
