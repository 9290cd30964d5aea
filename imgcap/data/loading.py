"""Load images with captions from a folder or the Hub, in the usual layouts."""

from imgcap.model import torchvision_ops  # noqa: F401, I001 - must come before datasets finds torchvision

import io
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import datasets
from PIL import Image, UnidentifiedImageError

from imgcap.data.vocabulary import clean_caption, lost_letters
from imgcap.errors import InputError

logger = logging.getLogger(__name__)

_NUMBERED = re.compile(r"captions?_?(\d+)")
_CAPTIONS = ("captions", "caption", "text", "sentences", "sentence")  # the first one found is taken
_FOREIGN_SHARE = 0.01  # of a column's captions; a rare letter in another script must not refuse a data set


@dataclass(frozen=True)
class CaptionedImages:
    """Images, each with at least one caption that contains a word.

    name: the name of the data set and split, for messages.
    dataset: the rows, with the column "image"; images are decoded when they are read.
    captions: the raw captions of each row, empty ones left out.
    """

    name: str
    dataset: datasets.Dataset
    captions: list[list[str]]

    def __len__(self) -> int:
        return len(self.captions)

    @cached_property
    def images(self) -> Sequence[Image.Image]:
        """The images in the order of the captions."""
        images: Sequence[Image.Image] = self.dataset["image"]
        return images

    def head(self, count: int) -> "CaptionedImages":
        """Return the first `count` rows."""
        return CaptionedImages(self.name, self.dataset.select(range(min(count, len(self)))), self.captions[:count])

    @property
    def fingerprint(self) -> str:
        """A hash that changes with the rows."""
        return str(self.dataset._fingerprint)


def load_rows(
    source: str, split: str, limit: int | None = None, *, image_column: str = "", caption_columns: Sequence[str] = ()
) -> CaptionedImages:
    """Load the usable rows of one split of a caption data set.

    Rows whose image cannot be decoded or that have no caption are left out, and one warning counts them. The limit
    applies to the remaining rows, so it always selects the same ones.

    Args:
        source: Hub id, or folder of parquet files or of images with metadata.jsonl.
        split: "train", "validation" or "test".
        limit: the maximum number of rows; None for all.
        image_column: holds the images; by default "image", or the only column of images.
        caption_columns: each holds a caption or a list of captions; by default the columns caption_0, caption_1 and so
            on, or the first that exists of captions, caption, text, sentences and sentence.

    Raises:
        InputError: the data set, the split or a column does not exist or has the wrong type; the captions are in a
            script that the captioner cannot write; or no row can be used.
    """
    dataset = _load_split(source, split)
    image = _image_column(dataset, source, image_column)
    columns = _caption_columns(dataset, source, caption_columns)
    captions = _captions(dataset, source, columns)
    if image != "image":
        taken = dataset.remove_columns("image") if "image" in dataset.column_names else dataset
        dataset = taken.rename_column(image, "image")
    return _usable(dataset, captions, f"{source} {split}", limit)


def _load_split(source: str, split: str) -> datasets.Dataset:
    try:
        return datasets.load_dataset(source, split=split)
    except (FileNotFoundError, datasets.exceptions.DatasetNotFoundError) as error:
        raise InputError(
            f"No data set at {source!r}: give a folder of parquet files or the id of one on the Hub."
        ) from error
    except ConnectionError as error:
        raise InputError(
            f"There is no folder {source!r}, and the Hub cannot be reached: give a folder of parquet files, or connect."
        ) from error
    except ValueError as error:
        if "Unknown split" in str(error):
            there = ", ".join(re.findall(r"'(\w+)'", str(error).split(". ")[-1]))
            raise InputError(f"The data set {source!r} has no split {split!r}: choose one of {there}.") from error
        raise InputError(
            f"The data set {source!r} cannot be read as images and captions: {str(error).splitlines()[0]}"
        ) from error
    except datasets.exceptions.DatasetGenerationError as error:
        cause = error.__cause__ or error
        if isinstance(cause, datasets.arrow_writer.SchemaInferenceError):
            raise InputError(
                f"There are no images with captions in {source!r}: give a folder of parquet files or the id of a data "
                "set on the Hub."
            ) from error
        raise InputError(f"The data set {source!r} cannot be read: {str(cause).splitlines()[0]}") from error


def _image_column(dataset: datasets.Dataset, source: str, name: str) -> str:
    found = [column for column, feature in dataset.features.items() if isinstance(feature, datasets.Image)]
    if name:
        if name not in dataset.column_names:
            raise InputError(_lacks(dataset, source, name))
    elif "image" in dataset.column_names:
        name = "image"
    elif len(found) == 1:
        name = found[0]
    elif found:
        raise InputError(
            f"The data set {source!r} has several columns of images ({', '.join(found)}): choose one as image_column."
        )
    else:
        raise InputError(_lacks(dataset, source, "image"))
    if name not in found:
        raise InputError(f"The column {name} of {source!r} does not hold images but {_kind(dataset.features[name])}.")
    return name


def _caption_columns(dataset: datasets.Dataset, source: str, names: Sequence[str]) -> list[str]:
    if names:
        for name in names:
            if name not in dataset.column_names:
                raise InputError(_lacks(dataset, source, name))
        return list(names)
    numbered = [name for name in dataset.column_names if _NUMBERED.fullmatch(name)]
    if numbered:
        return sorted(numbered, key=lambda name: int(_NUMBERED.fullmatch(name)[1]))  # type: ignore[index]
    for name in _CAPTIONS:
        if name in dataset.column_names:
            return [name]
    raise InputError(
        f"The data set {source!r} has no column of captions, only {', '.join(dataset.column_names)}: name their "
        "columns as caption_columns, or call them caption_0 to caption_4, captions, caption or text."
    )


def _lacks(dataset: datasets.Dataset, source: str, name: str) -> str:
    return f"The data set {source!r} has no column {name}, only {', '.join(dataset.column_names)}."


def _kind(feature: Any) -> str:
    """Return a readable name of a column's type."""
    if isinstance(feature, datasets.List | datasets.LargeList):
        return f"lists of {_kind(feature.feature)}"
    if isinstance(feature, datasets.Value):
        if feature.dtype.startswith(("int", "uint", "float", "double", "decimal")):
            return "numbers"
        names = {"string": "text", "large_string": "text", "null": "nothing", "bool": "truth values"}
        return names.get(feature.dtype, str(feature.dtype))
    return {"ClassLabel": "class labels", "Image": "images"}.get(type(feature).__name__, "nested fields")


def _captions(dataset: datasets.Dataset, source: str, columns: Sequence[str]) -> list[list[str]]:
    """Return the raw captions of each row, without empty ones."""
    rows: list[list[str]] = [[] for _ in range(len(dataset))]
    for name in columns:
        kind = _kind(dataset.features[name])
        if kind not in ("text", "lists of text", "nothing", "lists of nothing"):
            raise InputError(f"The column {name} of {source!r} must hold text or lists of text, not {kind}.")
        values = [[value] if isinstance(value, str) else value or [] for value in dataset[name]]
        texts = [[text for text in row if text and text.strip()] for row in values]
        foreign = [text for row in texts for text in row if lost_letters(text)]
        if len(foreign) > _FOREIGN_SHARE * sum(map(len, texts)):
            raise InputError(
                f"The column {name} of {source!r} holds captions in a script that the captioner cannot write, such as "
                f"{foreign[0][:40]!r}: it knows the letters a to z, accents apart. Choose another column as "
                "caption_columns."
            )
        for row, found in zip(rows, texts, strict=True):
            row.extend(found)
    return rows


def _usable(dataset: datasets.Dataset, captions: list[list[str]], name: str, limit: int | None) -> CaptionedImages:
    """Drop unusable rows until `limit` rows are found, so that the images after those are never decoded."""
    good: list[int] = []
    undecodable: list[int] = []
    uncaptioned: list[int] = []
    looked_at = 0
    for row, encoded in enumerate(dataset.cast_column("image", datasets.Image(decode=False))["image"]):
        if len(good) == limit:
            break
        looked_at += 1
        if not any(clean_caption(text) for text in captions[row]):
            uncaptioned.append(row)
        elif not _decodes(encoded):
            undecodable.append(row)
        else:
            good.append(row)
    if undecodable or uncaptioned:
        logger.warning(
            "%s: left out %d images that cannot be decoded and %d without a caption, of %d (rows %s).",
            name, len(undecodable), len(uncaptioned), looked_at, sorted(undecodable + uncaptioned)[:10],
        )  # fmt: skip
    if not good:
        raise InputError(f"{name} has no image that can be decoded and has a caption.")
    if len(good) == len(dataset):
        return CaptionedImages(name, dataset, captions)
    return CaptionedImages(name, dataset.select(good), [captions[row] for row in good])


def _decodes(encoded: dict[str, Any] | None) -> bool:
    if encoded is None:
        return False
    try:
        with Image.open(io.BytesIO(encoded["bytes"]) if encoded.get("bytes") else encoded["path"]) as image:
            image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return False
    return True
