"""Represent one user's batch of images with their results, and store it on the disk."""

import json
import secrets
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from imgcap.accounts.history import MAX_CAPTION
from imgcap.errors import InputError
from imgcap.images.alt_text import one_line
from imgcap.reading import Length, Reading, Reason

State = Literal["waiting", "working", "done", "failed"]
Json: TypeAlias = dict[str, Any]
RATE_OF = 20
"""Number of finished images whose pace gives the time that is left."""


@dataclass
class Item:
    """One file of a batch, which may or may not be an image."""

    number: int
    name: str
    size: int
    """Bytes of the file and its thumbnail on the disk."""
    state: State = "waiting"
    valid: bool | None = None
    reason: Reason | None = None
    blur_variance: float | None = None
    threshold: float | None = None
    caption: str | None = None
    """The model's caption."""
    edited: str | None = None
    """The user's own caption; None if the user wrote none."""
    confidence: float | None = None
    warning: Literal["unfamiliar"] | None = None
    error: str | None = None
    version: int = 0
    """The batch's version at the last change of this item."""

    @property
    def text(self) -> str | None:
        """The user's own caption, or else the model's."""
        return self.caption if self.edited is None else self.edited

    def keep(self, reading: Reading) -> None:
        """Store the reading of the image."""
        self.state = "done"
        self.valid, self.reason = reading.valid, reading.reason
        self.blur_variance, self.threshold = reading.blur_variance, reading.threshold
        self.caption, self.confidence, self.warning = reading.caption, reading.confidence, reading.warning
        self.error = reading.error

    def fail(self, sentence: str) -> None:
        """Store the sentence that says why the file has no reading."""
        self.state, self.error = "failed", sentence

    def as_reading(self) -> Json:
        """Return the JSON of every interface, with the model's caption in addition to the user's."""
        reading = Reading(
            self.name, self.valid, self.reason, self.blur_variance, self.threshold or 0.0, self.text,
            None if self.edited is not None else self.confidence, (), self.error, self.warning,
        )  # fmt: skip
        return reading.as_dict() | {"threshold": self.threshold, "model_caption": self.caption}


@dataclass
class Batch:
    """A user's images in the order in which they arrived. Code that changes it must hold the lock of `BatchStore`."""

    user_id: int
    folder: Path
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    length: Length = "normal"
    items: list[Item] = field(default_factory=list)
    cancelled: bool = False
    touched_at: float = field(default_factory=time.time)
    """Time of the last change by the user or the captioner, in seconds since 1970, from which its age counts."""
    version: int = 0
    address: str | None = None
    """Address that sent its last image, for the throttle; not stored on the disk."""
    not_before: float = 0.0
    """Time (monotonic) until which the allowance is used up."""
    saved_version: int = -1
    finished: deque[float] = field(default_factory=lambda: deque(maxlen=RATE_OF))
    """Times (monotonic) at which its last images were finished."""

    @property
    def bytes(self) -> int:
        """Bytes that it takes on the disk."""
        return sum(item.size for item in self.items)

    def touch(self, *items: Item) -> None:
        """Record a change of the batch and of some of its items."""
        self.version += 1
        self.touched_at = time.time()
        for item in items:
            item.version = self.version

    def cancel(self) -> None:
        """Start no further image."""
        self.cancelled = True
        self.touch()

    def resume(self) -> None:
        """Continue with waiting images, and retry failed ones."""
        self.cancelled = False
        again = [item for item in self.items if item.state == "failed" and self.path(item).is_file()]
        for item in again:
            item.state, item.error = "waiting", None
        self.touch(*again)

    def edit(self, number: int, caption: str) -> None:
        """Replace the model's caption of an item by the user's own; an empty one restores the model's.

        Raises:
            InputError: the item does not exist or is not done, or the caption is too long.
        """
        text = one_line(caption)
        if len(text) > MAX_CAPTION:
            raise InputError(f"A caption has at most {MAX_CAPTION:,} characters; write a shorter one.")
        item = self.find(number)
        if item is None or item.state != "done":
            raise InputError("Only a picture that is done has a caption to change.")
        item.edited = text if text and text != item.caption else None
        self.touch(item)

    def count(self, *states: State) -> int:
        """Return how many items are in one of the states."""
        return sum(item.state in states for item in self.items)

    def path(self, item: Item) -> Path:
        """Return the path of the item's file."""
        return self.folder / str(item.number)

    def thumbnail_path(self, item: Item) -> Path:
        """Return the path of the item's thumbnail, which exists once the item is done."""
        return self.folder / f"{item.number}.jpg"

    def find(self, number: int) -> Item | None:
        """Return an item by its number."""
        return self.items[number] if 0 <= number < len(self.items) else None

    def next_waiting(self) -> Item | None:
        """Return the next item to work on."""
        return None if self.cancelled else next((item for item in self.items if item.state == "waiting"), None)

    def seconds_left(self, now: float) -> float | None:
        """Return an estimate of the time until all is done, from the pace of the last images; None if unknown."""
        left = self.count("waiting", "working")
        if len(self.finished) < 2 or not left or self.cancelled:
            return None
        pace = (max(now, self.finished[-1]) - self.finished[0]) / (len(self.finished) - 1)
        return pace * left

    def report(self, since: int) -> Json:
        """Return the state for the page, with the items that changed after version `since`."""
        now, left = time.monotonic(), self.count("waiting", "working")
        state = "cancelled" if self.cancelled and left else "running" if left else "finished"
        return {
            "id": self.id,
            "version": self.version,
            "state": state,
            "total": len(self.items),
            "done": self.count("done"),
            "failed": self.count("failed"),
            "seconds_left": self.seconds_left(now),
            "wait_seconds": max(0.0, self.not_before - now) if state == "running" else 0.0,
            "bytes": self.bytes,
            "items": [_shown(item) for item in self.items if item.version > since],
        }

    def state(self) -> Json:
        """Return the JSON that `save` writes."""
        return {
            "id": self.id,
            "length": self.length,
            "cancelled": self.cancelled,
            "touched_at": self.touched_at,
            "version": self.version,
            "items": [asdict(item) for item in self.items],
        }

    def save(self, state: Json) -> None:
        """Write a state beside the files, atomically. This needs no lock, because `state` is a copy."""
        new = self.folder / "state.new"
        new.write_text(json.dumps(state), encoding="utf-8")
        new.replace(self.folder / "state.json")
        self.saved_version = state["version"]


def load(folder: Path) -> Batch:
    """Return the batch in `folder`, whose name begins with the user's id.

    Items that were in progress wait again, and files that the state does not list are deleted.

    Raises:
        OSError, ValueError, TypeError, KeyError: the batch cannot be read.
    """
    content = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    items = [Item(**item) for item in content.pop("items")]
    batch = Batch(user_id=int(folder.name.partition("-")[0]), folder=folder, items=items, **content)
    for item in items:
        if item.state == "working":
            item.state = "waiting"
        if item.state == "waiting" and not batch.path(item).is_file():
            item.fail("The file is no longer there: send it again.")
    known = {batch.path(item) for item in items} | {batch.thumbnail_path(item) for item in items}
    for path in folder.iterdir():
        if path not in known and path.name != "state.json":
            path.unlink()
    return batch


def _shown(item: Item) -> Json:
    shown = asdict(item)
    del shown["size"], shown["version"]
    return shown | {"text": item.text}
