"""Read the test split of a data set in the layout of `jxie/flickr8k`, caption its images and score the captions.

The files are Parquet and read by pyarrow alone, because serving does not import `datasets`. Images are captioned
whether they are sharp or not, as when the model is evaluated. Captions are stored in a file, so that the whole split is
captioned only once, in the background, when somebody first asks for the best or the worst.
"""

import hashlib
import json
import logging
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from imgcap.errors import InputError
from imgcap.inference.batching import BusyError
from imgcap.inference.cider import CiderD
from imgcap.inference.threads import give_way
from imgcap.web.models import Model

BACKGROUND = "test split"
"""The user in the captioner's queue for captions that nobody waits for."""
SAVE_EVERY = 25
GROUPS_IN_MEMORY = 2
MISSING = "The data set is read by pyarrow, which is not installed: pip install 'imgcap[dataset]'."
LAYOUT = (
    "The data set has no test split in the layout of jxie/flickr8k: Parquet files with 'test' in their names, and the "
    "columns image and caption_0, caption_1, ..."
)
NO_PICTURE = "The test split has no such picture."
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
        self._captions: dict[int, str | None] = {}
        self._scored: dict[int, Scored] = {}
        self._references: list[tuple[str, ...]] = []
        self._groups: list[tuple[int, Path, int]] = []
        self._read_group = lru_cache(GROUPS_IN_MEMORY)(_read_pictures)

    def __len__(self) -> int:
        return len(self._references)

    def start(self) -> None:
        """Find and read the split in a thread; a data set on the Hub is downloaded."""
        threading.Thread(target=self.open, name="imgcap-test-split", daemon=True).start()

    def open(self) -> None:
        """Find and read the split; if that fails, `problem` says why."""
        try:
            for path in _find_files(self.source):
                references, sizes = _read_captions(path)
                for group, size in enumerate(sizes):
                    self._groups.append((size, path, group))
                self._references += references
            self._scorer = CiderD([tokens_of(caption) for caption in captions] for captions in self._references)
            self._load_cache()
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
        self._check(number)
        for size, path, group in self._groups:
            if number < size:
                return self._model.captioner.images.decode(self._read_group(path, group)[number])
            number -= size
        raise InputError(NO_PICTURE)

    def get(self, number: int) -> Scored:
        """Return an image with its captions and scores so far. Raises InputError if the image does not exist."""
        self._check(number)
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

    def _check(self, number: int) -> None:
        if self.state != "ready":
            raise InputError(self.problem or "The data set is being read; try again in a moment.")
        if not 0 <= number < len(self._references):
            raise InputError(NO_PICTURE)

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
                self._save_cache()
            if self._closing.is_set():
                return
        self._save_cache()

    def _cache_path(self) -> Path:
        """Return the path of the file for this model's captions of this split."""
        settings = self._model.captioner.settings
        weights = Path(settings.model) / "model.safetensors"
        made = weights.stat().st_mtime_ns if weights.is_file() else 0
        known = json.dumps([settings.model, made, settings.engine, settings.unfamiliar, self._references])
        return self._cache / f"test-split-{hashlib.sha256(known.encode()).hexdigest()[:16]}.json"

    def _load_cache(self) -> None:
        try:
            kept = json.loads(self._cache_path().read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return
        for number, caption in kept.items():
            self._keep(int(number), caption)

    def _save_cache(self) -> None:
        path = self._cache_path()
        with self._lock:
            content = json.dumps(self._captions)
        try:
            new = path.with_suffix(".new")
            new.write_text(content, encoding="utf-8")
            new.replace(path)
        except OSError as error:
            logger.warning("The captions of the test split could not be kept: %s", error.strerror)


def tokens_of(caption: str) -> list[str]:
    """Return the words of a caption in lower case, without punctuation."""
    return re.findall(r"\w+(?:[-']\w+)*", caption.lower())


def _find_files(source: str) -> list[Path]:
    """Return the Parquet files of the test split in a folder or in a data set on the Hub."""
    folder = Path(source)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(source, repo_type="dataset", allow_patterns="*test*.parquet"))
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError):
            raise InputError(
                "IMGCAP_DATASET names neither a folder nor a data set that the Hub gives to this server: check it."
            ) from None
    found = sorted(path for path in folder.rglob("*.parquet") if "test" in path.name)
    if not found:
        raise InputError(LAYOUT)
    return found


def _read_captions(path: Path) -> tuple[list[tuple[str, ...]], list[int]]:
    """Return people's captions of each image in a file, and the number of images in each of its row groups."""
    file = _open(path)
    columns = sorted(name for name in file.schema_arrow.names if name.startswith("caption_"))
    if not columns or "image" not in file.schema_arrow.names:
        raise InputError(LAYOUT)
    captions = zip(*(file.read(columns=[column]).column(0).to_pylist() for column in columns), strict=True)
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    return [tuple(str(caption).strip() for caption in own) for own in captions], sizes


def _read_pictures(path: Path, group: int) -> Sequence[bytes]:
    """Return the encoded images of a row group."""
    pictures = _open(path).read_row_group(group, columns=["image"]).column(0).to_pylist()
    return [bytes(picture["bytes"] or b"") for picture in pictures]


def _open(path: Path) -> Any:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise InputError(MISSING) from None
    return parquet.ParquetFile(path)
