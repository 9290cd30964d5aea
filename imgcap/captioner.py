"""Turn an image into a Reading. The page, the API and the command line all call this."""

import logging
import threading
from collections.abc import Generator, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from imgcap.blur.sharpness import Sharpness, measure
from imgcap.errors import InputError
from imgcap.images.loading import ImageLoader
from imgcap.inference.batching import BatchQueue
from imgcap.inference.memory import settle_memory
from imgcap.inference.threads import NICE
from imgcap.reading import Caption, Length, Reading, check_length
from imgcap.settings import Settings

if TYPE_CHECKING:
    from imgcap.inference.writer import Writer

NUM_ALTERNATIVES = 3
UNOPENED = "The picture could not be opened because of a fault of this program: its log says more."
logger = logging.getLogger(__name__)


@dataclass
class _Job:
    """One image to be captioned, with the fields that the queue fills in."""

    image: NDArray[np.uint8]
    length: Length
    alternatives: int
    caption: Caption | None = None
    written: threading.Event = field(default_factory=threading.Event)
    others: tuple[Caption, ...] = ()
    unfamiliar: bool = False


class Captioner:
    """The blur check and the model behind it.

    The model is loaded once, at the first caption or by `load()`; a check never waits for it. Several threads may call:
    images that wait at the same time are captioned together, and users take turns.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.images = ImageLoader(settings.image_limits, "imgcap.blur.child")
        self._loading = threading.Lock()
        self._writer: Writer | None = None
        self._queue: BatchQueue[_Job] = BatchQueue(self._caption_batch)

    def open(
        self, data: bytes, source: str | None = None, max_pixels: int | None = None, *, unhurried: bool = False
    ) -> tuple[NDArray[np.uint8], Reading]:
        """Return the image in a file, (H, W, 3) uint8 RGB, and the Reading that `check` would give.

        A child process both decodes and measures it, so that neither waits for captions.

        Args:
            data: a whole file.
            source: source in the Reading.
            max_pixels: a lower limit than the settings'.
            unhurried: give it the priority of captions instead of that of checks.

        Raises:
            InputError: as `ImageLoader.decode`.
        """
        options = {"threshold": self.settings.blur_threshold, "nice": NICE if unhurried else 0}
        pixels, found = self.images.examine(data, options, max_pixels)
        return pixels, _judge(Sharpness(**found["sharpness"]), source)

    def check(self, image: NDArray[np.uint8], source: str | None = None) -> Reading:
        """Return a Reading without captions for image (H, W, 3), uint8 RGB."""
        return _judge(measure(image, self.settings.blur_threshold), source)

    def caption(
        self,
        image: NDArray[np.uint8],
        length: str = "normal",
        source: str | None = None,
        alternatives: int = NUM_ALTERNATIVES,
    ) -> Reading:
        """Return a Reading of image (H, W, 3), uint8 RGB, with captions if the image is sharp enough.

        Raises:
            InputError: the length does not exist, or the configured model cannot be loaded.
        """
        return self.complete(self.check(image, source), image, check_length(length), alternatives)

    def complete(
        self,
        reading: Reading,
        image: NDArray[np.uint8],
        length: Length,
        alternatives: int = NUM_ALTERNATIVES,
        user: Hashable = None,
    ) -> Reading:
        """Return the Reading that `check` gave for image (H, W, 3), uint8 RGB, with captions if it is valid.

        Args:
            reading: the result of `check`.
            image: the image.
            length: length of the captions.
            alternatives: maximum number of other captions; 0 is the fastest.
            user: identifies whose image it is; waiting users take turns.

        Raises:
            InputError: the configured model cannot be loaded.
            BusyError: too many images are already waiting.
        """
        *_, last = self.complete_in_steps(reading, image, length, alternatives, user)
        return last

    def complete_in_steps(
        self,
        reading: Reading,
        image: NDArray[np.uint8],
        length: Length,
        alternatives: int = NUM_ALTERNATIVES,
        user: Hashable = None,
        gone: "Future[None] | None" = None,
    ) -> Generator[Reading, None, None]:
        """Yield the Reading of `complete` twice: with the caption alone as soon as it is written, and in full.

        Closing the iterator removes an image that still waits from the queue. So does completing `gone` while this
        thread waits; CancelledError is then raised. Other arguments and errors are those of `complete`.
        """
        if not reading.valid:
            yield reading
            return
        self.load()
        job = _Job(image, length, alternatives)
        future = self._queue.submit(job, user)
        # A failed batch writes no captions, and the thread that waits for one must be woken.
        future.add_done_callback(lambda _: job.written.set())
        if gone is not None:
            gone.add_done_callback(lambda _: future.cancel())
        try:
            if alternatives:
                job.written.wait()
                if job.caption is not None:
                    yield replace(self._answer(reading, job), alternatives=())
            future.result()
        finally:
            future.cancel()
        yield self._answer(reading, job)

    def caption_source(self, source: str, length: str = "normal", alternatives: int = NUM_ALTERNATIVES) -> Reading:
        """Return the Reading of a file or link; a bad input fills the Reading's `error` and is not raised."""
        wanted = check_length(length)
        try:
            image = self.images.load(source)
        except InputError as error:
            return self.refuse(str(error), source)
        except Exception:  # a bug that one source meets must not prevent the answers to the others
            logger.exception("A source could not be opened.")
            return self.refuse(UNOPENED, source)
        return self.caption(image, wanted, source, alternatives)

    def refuse(self, error: str, source: str | None = None) -> Reading:
        """Return the Reading of an input that held no image."""
        return Reading(source, None, None, None, self.settings.blur_threshold, error=error)

    def attend(self, image: NDArray[np.uint8], caption: str) -> list[tuple[str, NDArray[np.float32]]]:
        """Return each word of a caption with the decoder's attention: P weights over the grid, which sum to 1.

        image is (H, W, 3) uint8 RGB; the P cells form a square grid, row by row. A decoder without attention gives no
        words.

        Raises:
            InputError: the configured model cannot be loaded.
        """
        writer = self.load()
        encoding = writer.engine.encode(writer.prepare(image)[None], alone=not self._queue.running)
        return writer.attend(encoding.grid, caption)

    def load(self) -> "Writer":
        """Load the model unless it is loaded already, and return its writer.

        Raises:
            InputError: the configured model cannot be loaded.
        """
        with self._loading:
            if self._writer is None:
                from imgcap.inference.engines.choice import find_served_folder, open_engine
                from imgcap.inference.files import describe
                from imgcap.inference.threads import multiply_on_one_core
                from imgcap.inference.writer import Writer

                multiply_on_one_core()
                source = self.settings.model
                description = describe(find_served_folder(source, self.settings.engine), source)
                engine, reason = open_engine(description, self.settings.engine, source)
                logger.info("Captions are computed by %s. %s", engine.description, reason)
                self._writer = Writer(engine, description, self.settings.name_sex)
                # Larger batches would be hardly faster, and all their users would return at the same moment.
                self._queue.workers, self._queue.max_batch = engine.lanes, engine.together
            return self._writer

    def warm(self) -> None:
        """Load the model and write one caption, so that the first image does not wait for any set-up."""
        self.load().warm()
        settle_memory()

    def close(self) -> None:
        """Finish the images that are being captioned and give up those that wait."""
        self._queue.close()

    def _answer(self, reading: Reading, job: _Job) -> Reading:
        """Return the Reading with the captions that the job has so far, and a warning if its image is unfamiliar."""
        if job.caption is None:
            raise RuntimeError("The queue finished a picture without a caption.")
        if job.unfamiliar and self.settings.unfamiliar != "off":
            reading = replace(reading, warning="unfamiliar")
            if self.settings.unfamiliar == "refuse":
                return reading
        return replace(reading, caption=job.caption.caption, confidence=job.caption.confidence, alternatives=job.others)

    def _caption_batch(self, jobs: Sequence[_Job]) -> None:
        """Caption images together; images with the same caption length share a search."""
        writer = self.load()
        pixels = np.stack([writer.prepare(job.image) for job in jobs])  # here, since this thread has a low priority
        encoding = writer.engine.encode(pixels, alone=self._queue.running == 1)
        drafts = []
        for length in dict.fromkeys(job.length for job in jobs):
            places = [place for place, job in enumerate(jobs) if job.length == length]
            group = [jobs[place] for place in places]
            draft = writer.search(encoding if len(group) == len(jobs) else encoding[places], length)
            unfamiliar = writer.are_unfamiliar(draft)
            for job, caption, strange in zip(group, writer.captions(draft), unfamiliar, strict=True):
                job.caption = caption
                job.unfamiliar = strange
                job.written.set()
            drafts.append((group, draft))
        for group, draft in drafts:
            chosen = [place for place, job in enumerate(group) if job.alternatives]
            most = max(job.alternatives for job in group)
            found = writer.add_alternatives(writer.select(draft, chosen), most) if chosen else []
            for place, others in zip(chosen, found, strict=True):
                group[place].others = others[: group[place].alternatives]


def _judge(sharpness: Sharpness, source: str | None) -> Reading:
    """Return the Reading, without captions, of an image with this sharpness."""
    return Reading(source, sharpness.valid, sharpness.reason, sharpness.variance, sharpness.threshold)
