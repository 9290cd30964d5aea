"""Check and describe images for a signed-in user. Every interface of the server calls this."""

import contextlib
import logging
import traceback
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgcap.accounts.database import DatabaseUnavailable
from imgcap.accounts.history import History, Origin, digest_picture, make_thumbnail
from imgcap.accounts.throttling import Throttle
from imgcap.blur import sharpness as blur
from imgcap.captioner import NUM_ALTERNATIVES
from imgcap.errors import InputError
from imgcap.inference.threads import give_way
from imgcap.reading import Length, Reading, check_length
from imgcap.web.intake.opening import Caller, Opener, Picture, name_source
from imgcap.web.models import Models

logger = logging.getLogger(__name__)

STORING = 2
"""Readings of captions that are put into the history at once. A batch finishes several at the same moment; if all were
stored at once, pages and checks would wait for as many threads that want Python's interpreter."""
LEFT_TO_PEOPLE = 5
"""Number of requests of each kind that background work leaves of a user's allowance."""


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

    Args:
        models: measure and describe images.
        opener: opens images.
        throttle: counts the caller's requests.
        history: stores the readings of `describe`.
    """

    def __init__(self, models: Models, opener: Opener, throttle: Throttle, history: History) -> None:
        self.models, self.opener = models, opener
        self._captioner = models.default.captioner
        self._throttle = throttle
        self._history = history
        self._unhurried = ThreadPoolExecutor(STORING, "unhurried", initializer=give_way)

    @property
    def problem(self) -> str | None:
        """The reason why captions cannot be written at present, in a few words; None if none is known."""
        return self.models.default.problem

    def warm_up(self) -> None:
        """Load the model and write a caption, so that the first image does not wait for that; log a failure."""
        with contextlib.suppress(InputError):
            self.models.default.load()

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
            picture = self.opener.open(image, url, caller, unhurried=True)
            reading = picture.reading
            return list(self.describe(picture, length, caller, alternatives, model))[-1].reading
        except Exception as error:  # noqa: BLE001  the API must answer in any case
            return self._failed(error, reading, image, url)

    def check(self, image: Any, url: Any, caller: Caller) -> Reading:
        """Return the Reading, without captions, of an upload or a link; a failure fills its `error`."""
        try:
            return self.opener.open(image, url, caller).reading
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
        pixels, reading = self.opener.open_file(data, name, caller)
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
        return self.opener.open_frame(data, caller)[1]

    def describe_frame(self, data: bytes, caller: Caller) -> Reading:
        """Return the Reading of a camera's frame, with a caption but no alternatives if it is sharp.

        It is counted as a frame, and as a caption if it is sharp, and not stored in the history.

        Raises:
            Throttled: the caller's allowance of frames or captions is used up.
            InputError: as for `check_frame`, or the model cannot be used.
        """
        pixels, reading = self.opener.open_frame(data, caller)
        if not reading.valid:
            return reading
        self._throttle.hit("caption", account=caller.user_id, address=caller.address)
        return self.models.default.load().complete(reading, pixels, "normal", alternatives=0, user=caller.user_id)

    def _failed(self, error: Exception, reading: Reading | None, image: Any, url: Any) -> Reading:
        if reading is not None:
            return replace(reading, error=explain(error))
        return self._captioner.refuse(explain(error), name_source(image, url))


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
