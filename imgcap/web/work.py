"""What a signed-in user does with pictures. The page, the API and every other interface of the server call this."""

import contextlib
import logging
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgcap.accounts.database import DatabaseUnavailable
from imgcap.accounts.history import History, Origin, digest_picture, make_thumbnail
from imgcap.accounts.throttling import Throttle
from imgcap.blur import sharpness as blur
from imgcap.captioner import NUM_ALTERNATIVES, Captioner
from imgcap.errors import InputError
from imgcap.images.sandbox import CHILDREN
from imgcap.reading import Length, Reading, check_length
from imgcap.web.uploads import Source, Uploads

logger = logging.getLogger(__name__)

MAX_URL = 2_048
LEFT_TO_PEOPLE = 5
"""Requests of each kind that work in the background leaves of a user's allowance."""
RETRY_SECONDS = 60.0
"""How long after a failure the model is not loaded again."""


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


@dataclass(frozen=True)
class Described:
    """A step of `Work.describe`: what is known of a picture so far.

    `whole` says that nothing will be added to the reading; `entry` is then its id in the caller's history, if it could
    be kept there.
    """

    reading: Reading
    entry: int | None = None
    whole: bool = False


class Work:
    """Pictures in, readings out. Every method may be called from several threads at once.

    What takes long is done in turns: links and decoding each have places of their own, and of each kind one user has
    few, so that others wait for a user's links no longer than for anybody's. Captions have a queue in the captioner.

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
        self._links = Turns(total=16, per_user=2)
        self._decoders = Turns(total=CHILDREN, per_user=1)
        self._model_lock = threading.Lock()
        self._model_failed_at: float | None = None

    @property
    def problem(self) -> str | None:
        """Why captions cannot be written at present, in a few words; None if no reason is known."""
        return None if self._model_failed_at is None else "the model cannot be used"

    def warm_up(self) -> None:
        """Load the model and write a caption, so that the first picture waits for neither; a failure is logged."""
        with contextlib.suppress(InputError):
            self._load_model(self._captioner.warm)

    def caption(
        self, image: Any, url: Any, length: str, caller: Caller, alternatives: int = NUM_ALTERNATIVES
    ) -> Reading:
        """Return the Reading, with captions, of an upload or a link.

        What went wrong stands in its `error`; the verdict on the sharpness stays where it was measured.
        """
        reading = None
        try:
            check_length(length)
            picture = self._open(image, url, caller)
            reading = self.measure(picture)
            return list(self.describe(picture, reading, length, caller, alternatives))[-1].reading
        except Exception as error:  # noqa: BLE001  an API answers in any case
            return self._failed(error, reading, image, url)

    def check(self, image: Any, url: Any, caller: Caller) -> Reading:
        """Return the Reading, without captions, of an upload or a link; what went wrong stands in its `error`."""
        try:
            return self.measure(self._open(image, url, caller))
        except Exception as error:  # noqa: BLE001  as above
            return self._failed(error, None, image, url)

    def measure(self, picture: Picture) -> Reading:
        """Return how sharp a picture is, without a caption."""
        return self._captioner.check(picture.pixels, picture.name)

    def describe(
        self, picture: Picture, reading: Reading, length: str, caller: Caller, alternatives: int = NUM_ALTERNATIVES
    ) -> Iterator[Described]:
        """Yield the Reading that `measure` gave, with its caption if it is valid, then again with its alternatives.

        Counted, and kept in the history once it is whole: the last step says where. Closing the iterator takes a
        picture that waits out of the captioner's queue.

        Raises:
            Throttled: the caller has used up the captions allowed.
            InputError: there is no such length, or the model cannot be used.
        """
        wanted = check_length(length)
        latest = reading
        if reading.valid:
            self._throttle.hit("caption", account=caller.user_id, address=caller.address)
            self._load_model()
            steps = self._captioner.complete_in_steps(
                reading, picture.pixels, wanted, alternatives, user=caller.user_id
            )
            with contextlib.closing(steps):
                for latest in steps:
                    yield Described(latest)
        yield self._keep(picture, latest, wanted, caller)

    def _keep(self, picture: Picture, reading: Reading, length: Length, caller: Caller) -> Described:
        """Put a whole reading into the caller's history; what was computed is shown even if it cannot be kept."""
        origin = Origin(picture.source, digest_picture(picture.pixels))
        if reading.valid:
            origin = replace(origin, model=self.model_name, length=length)
        try:
            thumbnail = make_thumbnail(picture.pixels)
            return Described(reading, self._history.add(caller.user_id, reading, thumbnail, origin), whole=True)
        except DatabaseUnavailable as error:
            return Described(replace(reading, error=f"This reading is not in your history. {error}"), whole=True)

    @property
    def model_name(self) -> str:
        """The model's name in the history: the last part of its folder or Hub id."""
        return Path(self._captioner.settings.model).name

    def describe_file(
        self, data: bytes, name: str, length: Length, caller: Caller
    ) -> tuple[Reading, NDArray[np.uint8]]:
        """Return the Reading, with its caption alone, of a picture in the background, and its pixels (H, W, 3).

        Counted, but a few of the caller's requests are left for what they do themselves meanwhile; not kept in the
        history.

        Raises:
            Throttled: the caller's allowance, less those few, is used up; later it is not.
            BusyError: too many pictures wait for captions.
            InputError: the data are no picture, or the model cannot be used.
        """
        spare: Any = {"account": caller.user_id, "address": caller.address, "keep": LEFT_TO_PEOPLE}
        self._throttle.check("caption", **spare)  # before the work of opening a picture that has to wait
        self._throttle.hit("picture", **spare)
        with self._decoders.turn(caller.user_id):
            pixels = self._images.decode(data)
        reading = self._captioner.check(pixels, name)
        if reading.valid:
            self._throttle.hit("caption", **spare)
            self._load_model()
            reading = self._captioner.complete(reading, pixels, length, alternatives=0, user=caller.user_id)
        return reading, pixels

    def attend(self, picture: Picture, caption: str) -> list[tuple[str, NDArray[np.float32]]]:
        """Return each word of a picture's caption with where the model looked; see `Captioner.attend`."""
        return self._captioner.attend(picture.pixels, caption)

    def draw_map(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
        """Return a picture (h, w, 3) RGB of where a picture (H, W, 3) RGB is sharp, and the threshold it shows."""
        threshold = self._captioner.settings.blur_threshold
        return blur.sharpness_overlay(pixels, threshold), threshold

    def open_upload(self, payload: Any, caller: Caller) -> Picture:
        """Return the picture that a Gradio file payload names. Counted.

        Raises:
            Throttled: the caller has used up the pictures allowed.
            InputError: the file is not an upload of the caller's, or no picture.
        """
        path = payload.get("path") if isinstance(payload, dict) else None
        if not isinstance(path, str):
            raise InputError("The image must be an uploaded file; in Python give gradio_client's handle_file(path).")
        self._count(caller)
        with self._decoders.turn(caller.user_id):  # read within it: a hundred files that wait should not be in memory
            pixels = self._images.decode(self._uploads.read(path, caller.user_id))
        return Picture(pixels, Path(path).name, self._uploads.source_of(path))

    def open_link(self, url: str, caller: Caller) -> Picture:
        """Return the picture at a link. Counted.

        Raises:
            Throttled: the caller has used up the pictures allowed.
            InputError: the link cannot be followed, or does not lead to a picture.
        """
        return self._follow(url, caller)[1]

    def keep_link(self, url: str, caller: Caller) -> Path:
        """Fetch the picture at a link, keep it as an upload of the caller's, and return its path. Counted.

        Raises:
            InputError: as `open_link`.
        """
        return self._uploads.save_link(self._follow(url, caller)[0], caller.user_id)

    def _follow(self, url: str, caller: Caller) -> tuple[bytes, Picture]:
        self._count(caller)
        with self._links.turn(caller.user_id):
            data = self._images.fetch(url)
            with self._decoders.turn(caller.user_id):
                return data, Picture(self._images.decode(data), url[:MAX_URL], "link")

    def _count(self, caller: Caller) -> None:
        self._throttle.hit("picture", account=caller.user_id, address=caller.address)

    def _load_model(self, load: Callable[[], object] | None = None) -> None:
        """Load the model unless it is loaded. Raises InputError; after a failure it is tried again only after a while.

        Which file is broken is for the operator alone to read, in the log.

        Args:
            load: what loads it; by default the captioner's `load`.
        """
        with self._model_lock:
            failed = self._model_failed_at
            try:
                if failed is None or time.monotonic() - failed > RETRY_SECONDS:
                    (load or self._captioner.load)()
                    self._model_failed_at = None
            except Exception as error:  # noqa: BLE001  a broken file can make a library raise anything
                logger.error("The model cannot be used: %s", error)  # noqa: TRY400  a sentence for the operator
                self._model_failed_at = time.monotonic()
            if self._model_failed_at is not None:
                raise InputError("The server cannot write captions at present; its operator finds why in the log.")

    def _failed(self, error: Exception, reading: Reading | None, image: Any, url: Any) -> Reading:
        if reading is not None:
            return replace(reading, error=explain(error))
        return self._captioner.refuse(explain(error), _name_source(image, url))

    def _open(self, image: Any, url: Any, caller: Caller) -> Picture:
        if url is not None and not isinstance(url, str):
            raise InputError("The url must be a text.")
        link = (url or "").strip()
        if bool(image) == bool(link):
            raise InputError("Give exactly one of image and url.")
        if image and (linked := _linked(image)):  # gradio_client's handle_file takes links too
            link = linked
        return self.open_link(link, caller) if link else self.open_upload(image, caller)


class Turns:
    """Places for work that takes long, of which one user never has all.

    Args:
        total: places in all.
        per_user: places that one user may have at once.
    """

    def __init__(self, total: int, per_user: int) -> None:
        self._free = total
        self._per_user = per_user
        self._taken: Counter[int] = Counter()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def turn(self, user: int) -> Iterator[None]:
        """Wait for a place, and have it within the block."""
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0 and self._taken[user] < self._per_user)
            self._free -= 1
            self._taken[user] += 1
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._taken[user] -= 1
                if not self._taken[user]:
                    del self._taken[user]
                self._changed.notify_all()


def explain(error: Exception) -> str:
    """Return a sentence on an error for the person whose request it ended; what is no mistake of theirs is logged."""
    if isinstance(error, InputError):
        return str(error)
    # Without its text, which may hold what a person gave.
    where = "".join(traceback.format_tb(error.__traceback__)[-3:])
    logger.error("%s in a user's work\n%s", type(error).__name__, where)
    return "Something went wrong on this server; try again, and tell its operator if it stays so."


def _linked(image: Any) -> str | None:
    path = image.get("path") if isinstance(image, dict) else None
    return path if isinstance(path, str) and path.startswith(("http://", "https://")) else None


def _name_source(image: Any, url: Any) -> str | None:
    """Return what a failed reading shows as its source."""
    if isinstance(url, str) and url.strip() and not image:
        return url.strip()[:MAX_URL]
    path = image.get("path") if isinstance(image, dict) else None
    return (_linked(image) or Path(path).name)[:MAX_URL] if isinstance(path, str) else None
