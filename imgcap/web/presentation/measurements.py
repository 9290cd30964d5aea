"""Read the measurements of the server's captioner from the files beside its weights."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgcap.errors import InputError
from imgcap.inference.files import find_folder
from imgcap.inference.judging.expected_ngrams import FILE as NGRAMS
from imgcap.inference.judging.unfamiliar import FILE as BOUNDS


@dataclass(frozen=True)
class Mistake:
    """The shares, 0-1, of captions that name something and that people's captions of the same photo contradict.

    model: share of the model's captions; people: share of people's own captions, judged by the same rules.
    """

    model: float
    people: float


@dataclass(frozen=True)
class Measurements:
    """The measurements of a captioner; empty or None if its files lack them.

    scores: the result of `imgcap evaluate` (0-1, CIDEr as is), with `n` and `split`.
    mistakes: mistakes by kind, "sex", "colour" (of the same thing) and "count".
    attends: whether the decoder attends to parts of the photo.
    words: number of words in the vocabulary.
    predicts_ngrams: whether n-grams that it predicts from the image help to choose its captions.
    knows_unfamiliar: whether it can recognise images that do not look like the photos it learned from.
    """

    scores: dict[str, Any]
    mistakes: dict[str, Mistake]
    attends: bool | None = None
    words: int | None = None
    predicts_ngrams: bool = False
    knows_unfamiliar: bool = False


def read_measurements(source: str) -> Measurements:
    """Return the measurements of the captioner in a folder or on the Hub; they are empty if it cannot be found."""
    try:
        folder = find_folder(source, weights=False)
    except InputError:
        return Measurements({}, {})
    config, counted = _read(folder / "config.json"), _read(folder / "mistakes.json")
    mistakes: dict[str, Mistake] = {
        kind: Mistake(counted[name]["captions_left_out"]["share"], counted[name]["people_left_out"]["share"])
        for kind, name in (("sex", "sex"), ("colour", "colour of the same thing"), ("count", "count"))
        if name in counted
    }
    decoder = config.get("decoder")
    return Measurements(
        scores=_read(folder / "scores.json"),
        mistakes=mistakes,
        attends=None if decoder is None else decoder == "attention",
        words=config.get("vocab_size"),
        predicts_ngrams=(folder / NGRAMS).is_file(),
        knows_unfamiliar=(folder / BOUNDS).is_file(),
    )


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
