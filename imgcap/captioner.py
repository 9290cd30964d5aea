"""Turn a picture into a Reading. The page, the API and the command line all call this."""

import logging
import threading
from collections.abc import Generator, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from imgcap.blur.sharpness import measure
from imgcap.errors import InputError
from imgcap.images.loading import ImageLoader
from imgcap.inference.batching import BatchQueue
from imgcap.reading import Caption, Length, Reading, check_length
from imgcap.settings import Settings

if TYPE_CHECKING:
    from imgcap.inference.writer import Writer

NUM_ALTERNATIVES = 3
UNOPENED = "The picture could not be opened because of a fault of this program: its log says more."
logger = logging.getLogger(__name__)


@dataclass
class _Job:
    """One picture to be captioned, with the fields that the queue fills in."""

    pixels: NDArray[np.float32]
    length: Length
    alternatives: int
    caption: Caption | None = None
    written: threading.Event = field(default_factory=threading.Event)
    others: tuple[Caption, ...] = ()
    unfamiliar: bool = False


class Captioner:
    """The blur check and the model behind it.

    The model is loaded once, at the first caption or by `load()`; a check never waits for it. Safe to call from several
    threads: pictures that wait together are captioned together, and users take turns.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.images = ImageLoader(settings.image_limits)
        self._loading = threading.Lock()
        self._writer: Writer | None = None
        self._queue: BatchQueue[_Job] = BatchQueue(self._caption_batch)

    def check(self, image: NDArray[np.uint8], source: str | None = None) -> Reading:
        """A Reading without captions of image (H, W, 3), uint8 RGB."""
        sharpness = measure(image, self.settings.blur_threshold)
        return Reading(source, sharpness.valid, sharpness.reason, sharpness.variance, sharpness.threshold)

    def caption(
        self,
        image: NDArray[np.uint8],
        length: str = "normal",
        source: str | None = None,
        alternatives: int = NUM_ALTERNATIVES,
    ) -> Reading:
        """A Reading of image (H, W, 3), uint8 RGB; with captions if the picture is sharp enough.

        Raises:
            InputError: no such length, or the configured model cannot be loaded.
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
        """The Reading that `check` gave of image (H, W, 3), uint8 RGB, with captions if it is valid.

        Args:
            reading: of `check`.
            image: the picture.
            length: of the captions.
            alternatives: other captions at most; none cost the least.
            user: whose picture it is, of any kind; users take turns where several wait.

        Raises:
            InputError: the configured model cannot be loaded.
            BusyError: too many pictures wait already.
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
        """Yield what `complete` returns, first with the caption alone as soon as it is written.

        Closing the iterator takes a picture that still waits out of the queue. So does `gone` when it is done, while
        this thread waits; CancelledError is raised then. Other arguments and errors as of `complete`.
        """
        if not reading.valid:
            yield reading
            return
        job = _Job(self.load().prepare(image), length, alternatives)
        future = self._queue.submit(job, user)
        # A failed batch writes no captions, and whoever waits for one must learn of it.
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
        """`caption` of a file or link; what is wrong with it stands in the Reading's `error`, and is not raised."""
        wanted = check_length(length)
        try:
            image = self.images.load(source)
        except InputError as error:
            return self.refuse(str(error), source)
        except Exception:  # a fault of ours with one source must not cost the answers to the others
            logger.exception("A source could not be opened.")
            return self.refuse(UNOPENED, source)
        return self.caption(image, wanted, source, alternatives)

    def refuse(self, error: str, source: str | None = None) -> Reading:
        """The Reading of an input that held no picture."""
        return Reading(source, None, None, None, self.settings.blur_threshold, error=error)

    def attend(self, image: NDArray[np.uint8], caption: str) -> list[tuple[str, NDArray[np.float32]]]:
        """Return each word of a caption of image (H, W, 3), with where the decoder looked: P cells, adding up to 1.

        The cells are those of a square grid, row by row. A decoder without attention gives no words.

        Raises:
            InputError: the configured model cannot be loaded.
        """
        writer = self.load()
        return writer.attend(writer.engine.encode(writer.prepare(image)[None], alone=not self._queue.running), caption)

    def load(self) -> "Writer":
        """Load the model, unless it is loaded.

        Raises:
            InputError: the configured model cannot be loaded.
        """
        with self._loading:
            if self._writer is None:
                from imgcap.inference.choice import find_served_folder, open_engine
                from imgcap.inference.files import describe
                from imgcap.inference.writer import Writer

                source = self.settings.model
                description = describe(find_served_folder(source, self.settings.engine), source)
                engine, reason = open_engine(description, self.settings.engine, source)
                logger.info("Captions are computed by %s. %s", engine.description, reason)
                self._writer = Writer(engine, description, self.settings.name_sex)
                # Larger batches would be no faster, and all their users would come back in one moment.
                self._queue.workers, self._queue.max_batch = engine.lanes, engine.together
            return self._writer

    def warm(self) -> None:
        """Load the model and write a caption, so that the first picture waits for nothing that is set up late."""
        self.load().warm()

    def close(self) -> None:
        """Finish what runs and give up what waits."""
        self._queue.close()

    def _answer(self, reading: Reading, job: _Job) -> Reading:
        """Return the Reading with what the job has of captions so far, and a warning if its picture is unfamiliar."""
        if job.caption is None:
            raise RuntimeError("The queue finished a picture without a caption.")
        if job.unfamiliar and self.settings.unfamiliar != "off":
            reading = replace(reading, warning="unfamiliar")
            if self.settings.unfamiliar == "refuse":
                return reading
        return replace(reading, caption=job.caption.caption, confidence=job.caption.confidence, alternatives=job.others)

    def _caption_batch(self, jobs: Sequence[_Job]) -> None:
        """Caption pictures together; those of one length share a search."""
        writer = self.load()
        grid = writer.engine.encode(np.stack([job.pixels for job in jobs]), alone=self._queue.running == 1)
        drafts = []
        for length in dict.fromkeys(job.length for job in jobs):
            places = [place for place, job in enumerate(jobs) if job.length == length]
            group = [jobs[place] for place in places]
            draft = writer.search(grid if len(group) == len(jobs) else grid[places], len(group), length)
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
