"""Check and describe images for a signed-in user. Every interface of the server calls this."""

import contextlib
import logging
import traceback
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgcap.accounts.database import DatabaseUnavailable
from imgcap.accounts.history import History, Origin, digest_picture, make_thumbnail
from imgcap.accounts.throttling import Throttle
from imgcap.blur import sharpness as blur
from imgcap.captioner import NUM_ALTERNATIVES
from imgcap.errors import InputError
from imgcap.images.sandbox import CHILDREN
from imgcap.inference.threads import give_way
from imgcap.reading import Length, Reading, check_length
from imgcap.web.models import Models
from imgcap.web.turns import Turns
from imgcap.web.uploads import Source, Uploads

logger = logging.getLogger(__name__)

MAX_URL = 2_048
FRAME_PIXELS = 2_000_000
"""Maximum number of pixels of a camera's frame, so that no frame takes long."""
STORING = 4
"""Readings of captions that are put into the history at once. A batch finishes several at the same moment; if all were
stored at once, pages and checks would wait for as many threads that want Python's interpreter."""
LEFT_TO_PEOPLE = 5
"""Number of requests of each kind that background work leaves of a user's allowance."""


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


@dataclass(frozen=True)
class Described:
    """A step of `Work.describe` with the reading so far.

    `whole` says that the reading is complete; `entry` is then its id in the caller's history, if it could be stored.
    """

    reading: Reading
    entry: int | None = None
    whole: bool = False


class Work:
    """Turns images into readings. Several threads may call every method at once.

    Links and decoding take long, so each has a limited number of places, and one user gets only a few of each kind, so
    that no user's links keep the others waiting. Captions have a queue in the captioner.

    Args:
        models: measure and describe images.
        throttle: counts the caller's requests.
        history: stores the readings of `describe`.
        uploads: knows the owners of the uploaded files.
    """

    def __init__(self, models: Models, throttle: Throttle, history: History, uploads: Uploads) -> None:
        self.models = models
        self._captioner = models.default.captioner
        self._images = self._captioner.images
        self._throttle = throttle
        self._history = history
        self._uploads = uploads
        self._links = Turns(total=16, per_user=2)
        self._decoders = Turns(total=CHILDREN, per_user=1)
        self._unhurried = ThreadPoolExecutor(STORING, "unhurried", initializer=give_way)

    @property
    def problem(self) -> str | None:
        """The reason why captions cannot be written at present, in a few words; None if none is known."""
        return self.models.default.problem

    def warm_up(self) -> None:
        """Load the model and write a caption, so that the first image does not wait for that; log a failure."""
        with contextlib.suppress(InputError):
            self.models.default.load(self._captioner.warm)

    def caption(
        self, image: Any, url: Any, length: str, caller: Caller, alternatives: int = NUM_ALTERNATIVES, model: str = ""
    ) -> Reading:
        """Return the Reading, with captions, of an upload or a link.

        A failure fills its `error`; the verdict on the sharpness stays if it was already measured.
        """
        reading = None
        try:
            check_length(length)
            self.models.get(model)
            picture = self._open(image, url, caller, unhurried=True)
            reading = picture.reading
            return list(self.describe(picture, length, caller, alternatives, model))[-1].reading
        except Exception as error:  # noqa: BLE001  the API must answer in any case
            return self._failed(error, reading, image, url)

    def check(self, image: Any, url: Any, caller: Caller) -> Reading:
        """Return the Reading, without captions, of an upload or a link; a failure fills its `error`."""
        try:
            return self._open(image, url, caller).reading
        except Exception as error:  # noqa: BLE001  as above
            return self._failed(error, None, image, url)

    def describe(
        self,
        picture: Picture,
        length: str,
        caller: Caller,
        alternatives: int = NUM_ALTERNATIVES,
        model: str = "",
    ) -> Iterator[Described]:
        """Yield an image's Reading with its caption if it is valid, then again with its alternatives.

        The caption is counted, and the complete Reading is stored in the history under the id in the last step. Closing
        the iterator removes an image that waits from the captioner's queue.

        Raises:
            Throttled: the caller's allowance of captions is used up.
            InputError: the length or the model does not exist, or the model cannot be used.
        """
        wanted, chosen = check_length(length), self.models.get(model)
        latest = picture.reading
        if latest.valid:
            self._throttle.hit("caption", account=caller.user_id, address=caller.address)
            steps = chosen.load().complete_in_steps(
                latest, picture.pixels, wanted, alternatives, user=caller.user_id, gone=caller.gone
            )
            with contextlib.closing(steps):
                for latest in steps:
                    yield Described(latest)
        origin = Origin(picture.source, model=chosen.name, length=wanted)
        yield self._unhurried.submit(self._keep, picture, latest, origin, caller).result()

    def _keep(self, picture: Picture, reading: Reading, origin: Origin, caller: Caller) -> Described:
        """Store a complete reading in the caller's history; if that fails, the reading says so in its `error`."""
        if not reading.valid:
            origin = Origin(origin.source)
        origin = replace(origin, digest=digest_picture(picture.pixels))
        try:
            thumbnail = make_thumbnail(picture.pixels)
            return Described(reading, self._history.add(caller.user_id, reading, thumbnail, origin), whole=True)
        except DatabaseUnavailable as error:
            return Described(replace(reading, error=f"This reading is not in your history. {error}"), whole=True)

    def describe_file(
        self, data: bytes, name: str, length: Length, caller: Caller
    ) -> tuple[Reading, NDArray[np.uint8]]:
        """Return the Reading of a file in the background, with a caption but no alternatives, and its pixels (H, W, 3).

        It is counted, but leaves `LEFT_TO_PEOPLE` of the caller's requests, and is not stored in the history.

        Raises:
            Throttled: the caller's allowance, less those requests, is used up for now.
            BusyError: too many images wait for captions.
            InputError: the data are not an image, or the model cannot be used.
        """
        spare: Any = {"account": caller.user_id, "address": caller.address, "keep": LEFT_TO_PEOPLE}
        self._throttle.check("caption", **spare)  # first, since decoding an image that must wait is wasted
        self._throttle.hit("picture", **spare)
        with self._decoders.turn(caller.user_id, unhurried=True):
            pixels, reading = self._captioner.open(data, name, unhurried=True)
        if reading.valid:
            self._throttle.hit("caption", **spare)
            reading = self.models.default.load().complete(reading, pixels, length, alternatives=0, user=caller.user_id)
        return reading, pixels

    def attend(self, picture: Picture, caption: str, model: str = "") -> list[tuple[str, NDArray[np.float32]]]:
        """Return each word of an image's caption with the model's attention; see `Captioner.attend`."""
        return self.models.get(model).captioner.attend(picture.pixels, caption)

    def draw_map(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
        """Return the sharpness map (h, w, 3) RGB of an image (H, W, 3) RGB, and the threshold it shows."""
        threshold = self._captioner.settings.blur_threshold
        return blur.sharpness_overlay(pixels, threshold), threshold

    def check_frame(self, data: bytes, caller: Caller) -> Reading:
        """Return the Reading of a camera's frame without a caption. It is counted as a frame and not stored.

        Raises:
            Throttled: the caller's allowance of frames is used up.
            InputError: the data are not an image, or have more than `FRAME_PIXELS`.
        """
        return self._open_frame(data, caller)[1]

    def describe_frame(self, data: bytes, caller: Caller) -> Reading:
        """Return the Reading of a camera's frame, with a caption but no alternatives if it is sharp.

        It is counted as a frame, and as a caption if it is sharp, and not stored in the history.

        Raises:
            Throttled: the caller's allowance of frames or captions is used up.
            InputError: as for `check_frame`, or the model cannot be used.
        """
        pixels, reading = self._open_frame(data, caller)
        if not reading.valid:
            return reading
        self._throttle.hit("caption", account=caller.user_id, address=caller.address)
        return self.models.default.load().complete(reading, pixels, "normal", alternatives=0, user=caller.user_id)

    def _open_frame(self, data: bytes, caller: Caller) -> tuple[NDArray[np.uint8], Reading]:
        self._throttle.hit("frame", account=caller.user_id, address=caller.address)
        with self._decoders.turn(caller.user_id):
            return self._captioner.open(data, max_pixels=FRAME_PIXELS)

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

    def _follow(self, url: str, caller: Caller, *, unhurried: bool = False) -> tuple[bytes, Picture]:
        self._count(caller)
        with self._links.turn(caller.user_id):
            data = self._images.fetch(url)
            with self._decoders.turn(caller.user_id, unhurried=unhurried):
                return data, Picture(*self._captioner.open(data, url[:MAX_URL], unhurried=unhurried), "link")

    def _count(self, caller: Caller) -> None:
        self._throttle.hit("picture", account=caller.user_id, address=caller.address)

    def _failed(self, error: Exception, reading: Reading | None, image: Any, url: Any) -> Reading:
        if reading is not None:
            return replace(reading, error=explain(error))
        return self._captioner.refuse(explain(error), _name_source(image, url))

    def _open(self, image: Any, url: Any, caller: Caller, *, unhurried: bool = False) -> Picture:
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


def explain(error: Exception) -> str:
    """Return a sentence about an error for the person whose request failed; log it unless it is their mistake."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, CancelledError):
        return "The request was given up, because nobody waited for its answer any more."
    # The error's text is not logged, since it may contain a person's input.
    where = "".join(traceback.format_tb(error.__traceback__)[-3:])
    logger.error("%s in a user's work\n%s", type(error).__name__, where)
    return "Something went wrong on this server; try again, and tell its operator if it stays so."


def _linked(image: Any) -> str | None:
    path = image.get("path") if isinstance(image, dict) else None
    return path if isinstance(path, str) and path.startswith(("http://", "https://")) else None


def _name_source(image: Any, url: Any) -> str | None:
    """Return the source of a failed reading."""
    if isinstance(url, str) and url.strip() and not image:
        return url.strip()[:MAX_URL]
    path = image.get("path") if isinstance(image, dict) else None
    return (_linked(image) or Path(path).name)[:MAX_URL] if isinstance(path, str) else None
