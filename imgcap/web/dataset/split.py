"""Caption the images of a data set's test split and score the captions.

Images are captioned whether they are sharp or not, as when the model is evaluated. The whole split is captioned once,
in the background, when somebody first asks for the best or the worst.
"""

import logging
import re
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from imgcap.errors import InputError
from imgcap.inference.batching import BusyError
from imgcap.inference.judging.cider import CiderD
from imgcap.inference.threads import give_way
from imgcap.web.dataset.parquet import LAYOUT, NO_PICTURE, SplitFiles
from imgcap.web.dataset.written import WrittenCaptions
from imgcap.web.models import Model

BACKGROUND = "test split"
"""The user in the captioner's queue for captions that nobody waits for."""
SAVE_EVERY = 25
State = Literal["loading", "ready", "failed"]
Order = Literal["best", "worst"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """An image of the split with people's captions and the model's.

    number: its index in the split, from 0.
    references: people's captions.
    caption: the model's caption; None if it is not written yet, or the captioner refused.
    score: CIDEr-D of the model's caption, 0 to 10, which is the mean of `scores`.
    scores: CIDEr-D of the model's caption against each single one of people's.
    """

    number: int
    references: tuple[str, ...]
    caption: str | None = None
    score: float | None = None
    scores: tuple[float, ...] = ()


class TestSplit:
    """The images of one test split. Safe to share between threads.

    Args:
        source: a folder, or the id of a data set on the Hub.
        model: the model that writes the captions.
        cache: folder for the file of captions.
    """

    __test__ = False  # pytest must not collect it, in spite of its name

    def __init__(self, source: str, model: Model, cache: Path) -> None:
        self.source = source
        self.name = Path(source).name if Path(source).is_dir() else source
        """The name for people, without the path on this machine."""
        self.state: State = "loading"
        self.problem = ""
        self._model = model
        self._cache = cache
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._ranking: threading.Thread | None = None
        self._files: SplitFiles | None = None
        self._references: list[tuple[str, ...]] = []
        self._captions: dict[int, str | None] = {}
        self._scored: dict[int, Scored] = {}

    def __len__(self) -> int:
        return len(self._references)

    def start(self) -> None:
        """Find and read the split in a thread; a data set on the Hub is downloaded."""
        threading.Thread(target=self.open, name="imgcap-test-split", daemon=True).start()

    def open(self) -> None:
        """Find and read the split; if that fails, `problem` says why."""
        try:
            self._files = SplitFiles(self.source)
            self._references = self._files.references
            self._scorer = CiderD([tokens_of(caption) for caption in captions] for captions in self._references)
            self._written = WrittenCaptions(self._cache, self._model.captioner.settings, self._references)
            for number, caption in self._written.read().items():
                self._keep(number, caption)
            self.state = "ready"
        except InputError as error:
            self.problem, self.state = str(error), "failed"
        except Exception:
            logger.exception("The data set cannot be read.")
            self.problem, self.state = LAYOUT, "failed"

    def close(self) -> None:
        """Write no further captions, and store those that are written."""
        self._closing.set()
        if self._ranking is not None:
            self._ranking.join(timeout=5)

    def picture(self, number: int) -> NDArray[np.uint8]:
        """Return the pixels (H, W, 3) of an image.

        Raises:
            InputError: the image does not exist, or cannot be read.
        """
        return self._model.captioner.images.decode(self._opened(number).read_picture(number))

    def get(self, number: int) -> Scored:
        """Return an image with its captions and scores so far. Raises InputError if the image does not exist."""
        self._opened(number)
        with self._lock:
            return self._scored.get(number) or Scored(number, self._references[number])

    def describe(self, number: int, user: Any = None) -> Scored:
        """Return an image with the model's caption, which is written if it is missing.

        Raises:
            InputError: the image does not exist or cannot be read, or the model cannot be used.
            BusyError: too many images wait for captions.
        """
        known = self.get(number)
        if number in self._captions:
            return known
        pixels = self.picture(number)
        captioner = self._model.load()
        reading = replace(captioner.check(pixels), valid=True, reason=None)
        written = captioner.complete(reading, pixels, "normal", alternatives=0, user=user)
        with self._lock:
            return self._keep(number, written.caption)

    def search(self, text: str, most: int) -> list[Scored]:
        """Return the first images whose captions, by people or the model, contain every word of `text`."""
        words = text.lower().split()
        found: list[Scored] = []
        for number, references in enumerate(self._references):
            everything = " ".join((*references, self._captions.get(number) or "")).lower()
            if words and all(word in everything for word in words):
                found.append(self.get(number))
                if len(found) == most:
                    break
        return found

    def rank(self, order: Order, most: int) -> list[Scored]:
        """Return the images with the best or worst captions written so far, and start to caption the others."""
        self._begin_ranking()
        with self._lock:
            scored = [one for one in self._scored.values() if one.score is not None]
        scored.sort(key=lambda one: (one.score or 0, one.number), reverse=order == "best")
        return scored[:most]

    @property
    def captioned(self) -> int:
        """Number of images that the captioner has processed so far."""
        return len(self._captions)

    @property
    def mean(self) -> float | None:
        """The mean score of the captions written so far; None without captions."""
        with self._lock:
            scores = [one.score for one in self._scored.values() if one.score is not None]
        return sum(scores) / len(scores) if scores else None

    def _opened(self, number: int) -> SplitFiles:
        """Return the split's files. Raises InputError if they are not open, or the image does not exist."""
        if self.state != "ready" or self._files is None:
            raise InputError(self.problem or "The data set is being read; try again in a moment.")
        if not 0 <= number < len(self._references):
            raise InputError(NO_PICTURE)
        return self._files

    def _keep(self, number: int, caption: str | None) -> Scored:
        references = self._references[number]
        self._captions[number] = caption
        scored = Scored(number, references, caption)
        if caption is not None:
            prepared = self._scorer.prepare([tokens_of(reference) for reference in references])
            ours, place = [tokens_of(caption)], np.eye(len(references))
            scores = tuple(float(self._scorer.score(ours, prepared, weights)[0]) for weights in place.tolist())
            scored = replace(scored, scores=scores, score=sum(scores) / len(scores))
        self._scored[number] = scored
        return scored

    def _begin_ranking(self) -> None:
        with self._lock:
            if self._ranking is None and len(self._captions) < len(self._references):
                self._ranking = threading.Thread(target=self._caption_all, name="imgcap-test-split", daemon=True)
                self._ranking.start()

    def _caption_all(self) -> None:
        """Caption the remaining images one at a time, so that people who wait for a caption hardly notice."""
        give_way()
        for number in range(len(self._references)):
            try:
                while not self._closing.is_set():
                    try:
                        self.describe(number, BACKGROUND)
                        break
                    except BusyError as busy:
                        self._closing.wait(busy.retry_after)
            except InputError as error:
                logger.warning("A picture of the test split could not be captioned: %s", error)
            except Exception:
                logger.exception("The test split could not be captioned further.")
                break
            if self._closing.is_set() or number % SAVE_EVERY == 0:
                self._save()
            if self._closing.is_set():
                return
        self._save()

    def _save(self) -> None:
        with self._lock:
            captions = dict(self._captions)
        self._written.save(captions)


def tokens_of(caption: str) -> list[str]:
    """Return the words of a caption in lower case, without punctuation."""
    return re.findall(r"\w+(?:[-']\w+)*", caption.lower())
