"""Write a split's captions, image by image, into one HTML page that needs no other file."""

import io
import os
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from imgcap.data.loading import CaptionedImages
from imgcap.errors import InputError
from imgcap.evaluation.metrics import METRICS, cider_of_each
from imgcap.evaluation.mistakes import KINDS, MANY, Claim, Kind, count_mistakes, verdicts

SECTION = 20  # images in each of the sections best, median and worst
EXAMPLES = 4  # images of each kind of mistake
HEIGHT = 224  # maximum height of an image in pixels; wide images are lower
BIN = 0.1  # width of a bin of CIDEr-D in the histogram
LAST_BIN = 20  # also holds all higher scores

_PAGE = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
).get_template("report.html")  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A row of the split as the page shows it."""

    row: int
    source: str  # a data URI
    width: int
    height: int
    caption: str
    cider: float
    references: list[str]
    against: list[str]  # contradictions of a kind of mistake; empty among the best, the median and the worst


def check_place(path: Path) -> None:
    """Raise InputError if no report can be written to `path`, before minutes are spent on its content.

    Raises:
        InputError: the path is a folder, or its folder does not exist or cannot be written to.
    """
    try:
        folder = path.is_dir()
    except OSError as error:
        raise InputError(f"The report {path.name!r} cannot be written: {error.strerror}.") from error
    if folder:
        raise InputError(f"The report {str(path)!r} is a folder: give the name of a file, such as report.html.")
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {str(path.parent)!r} for the report: make it first.")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"The report cannot be written: the folder {str(path.parent)!r} is read-only.")


def write_report(path: Path, summary: Mapping[str, Any], rows: CaptionedImages, captions: Sequence[str]) -> None:
    """Write the page, completely or not at all.

    It holds the scores, a histogram of the images' CIDEr-D, the mistakes by kind with examples, and the best, median
    and worst twenty images by CIDEr-D beside their references. With fewer than sixty images, each of these three
    sections shows a third, so that no image appears twice; with one or two images the sections overlap.

    Args:
        path: the file; an existing one is replaced.
        summary: the result of `imgcap.evaluation.run.summarize`.
        rows: the split's images with their references.
        captions: one for each image.

    Raises:
        InputError: the file cannot be written.
    """
    check_place(path)
    page = _PAGE.render(**_content(summary, rows, captions))
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_text(page, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):  # the partial file may not exist
            partial.unlink()
        raise InputError(f"The report {str(path)!r} cannot be written: {error.strerror}.") from error


def _content(summary: Mapping[str, Any], split: CaptionedImages, captions: Sequence[str]) -> dict[str, Any]:
    references = split.captions
    cider = cider_of_each(captions, references)

    def pictures(rows: Iterable[int], kind: Kind | None = None) -> list[Picture]:
        return [
            Picture(
                row, *_embed(split.images[row]), captions[row], float(cider[row]), references[row],
                contradictions(kind, captions[row], references[row]) if kind else [],
            )
            for row in rows
        ]  # fmt: skip

    counted = count_mistakes(captions, references)
    return {
        "summary": summary,
        "metrics": METRICS,
        "histogram": histogram(cider),
        "quartiles": np.percentile(cider, [25, 50, 75]),
        "mistakes": [
            (kind.name, counted[kind.name], pictures(_examples(kind, captions, references), kind)) for kind in KINDS
        ],
        "sections": [(name, pictures(rows)) for name, rows in ranked(cider).items()],
    }


def ranked(cider: NDArray[np.float64]) -> dict[str, list[int]]:
    """Return the rows of the best, the median and the worst images; equal scores keep the order of rows."""
    order = np.argsort(-cider, kind="stable").tolist()
    size = min(SECTION, max(1, len(order) // 3))
    middle = (len(order) - size) // 2
    return {"best": order[:size], "median": order[middle : middle + size], "worst": order[: -size - 1 : -1]}


def histogram(cider: NDArray[np.float64]) -> list[tuple[float, int]]:
    """Return the lower edge and the number of images of each bin; the last one has no upper edge."""
    bins = np.minimum(cider / BIN + 1e-9, LAST_BIN).astype(int)  # rounding must not put .3 below its bin
    return [(place * BIN, int(count)) for place, count in enumerate(np.bincount(bins, minlength=LAST_BIN + 1))]


def contradictions(kind: Kind, caption: str, references: Sequence[str]) -> list[str]:
    """Return how references contradict a caption: "sex: the caption says male, references female"."""
    found = []
    for topic, claim in kind.claims(caption).items():
        claims = [kind.claims(reference) for reference in references]
        speaking = [said[topic] for said in claims if topic in said]
        if speaking and not kind.agrees(claim, speaking):
            others = "; ".join(dict.fromkeys(map(_in_words, speaking)))
            found.append(f"{topic}: the caption says {_in_words(claim)}, references {others}")
    return found


def _in_words(claim: Claim) -> str:
    if any(isinstance(value, str) for value in claim):
        return " and ".join(sorted(map(str, claim)))
    low, high = min(map(int, claim)), max(map(int, claim))
    return f"{low}" if low == high else f"{low} or more" if high == MANY else f"{low} to {high}"


def _examples(kind: Kind, captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[int]:
    """Return rows spread evenly over the contradicted ones, independent of their scores."""
    rows = [row for row, verdict in enumerate(verdicts(kind, captions, references)) if verdict == "contradicted"]
    places = np.linspace(0, len(rows) - 1, min(EXAMPLES, len(rows))).round().astype(int)
    return [rows[place] for place in places]


def _embed(image: Image.Image) -> tuple[str, int, int]:
    """Return a small JPEG as a data URI, its width and its height."""
    small = image.convert("RGB")
    small.thumbnail((2 * HEIGHT, HEIGHT))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{b64encode(buffer.getvalue()).decode()}", *small.size
