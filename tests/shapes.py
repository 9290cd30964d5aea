"""A generated caption data set: discs and squares on plain backgrounds, in the layout of `jxie/flickr8k`."""

from pathlib import Path

import cv2
import datasets
import numpy as np
from PIL import Image

from imgcap.data.loading import CaptionedImages

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 200)}
TEMPLATES = (
    "A {c} {s} on a grey ground .",
    "The {s} is {c} .",
    "a {c} {s}",
    "There is one {c} {s} in the picture .",
    "One {s} , {c} and alone .",
)


def draw(colour: str, shape: str, place: int, side: int = 64) -> Image.Image:
    picture = np.full((side, side, 3), 128, np.uint8)
    centre = (side // 3 + 5 * (place % 5), side // 2 - 5 * (place % 2))
    if shape == "disc":
        cv2.circle(picture, centre, side // 5, COLOURS[colour], -1)
    else:
        corner = (centre[0] + side // 4, centre[1] + side // 4)
        cv2.rectangle(picture, (centre[0] - 8, centre[1] - 8), corner, COLOURS[colour], -1)
    return Image.fromarray(picture)


def caption_split(rows: int, first: int = 0) -> datasets.Dataset:
    kinds = [(colour, shape) for colour in COLOURS for shape in ("disc", "square")]
    drawn = [(*kinds[i % len(kinds)], i) for i in range(first, first + rows)]
    columns = {"image": [draw(*row) for row in drawn]}
    for column, template in enumerate(TEMPLATES):
        columns[f"caption_{column}"] = [template.format(c=colour, s=shape) for colour, shape, _ in drawn]
    return datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())


def captioned_images(rows: int, first: int = 0) -> CaptionedImages:
    split = caption_split(rows, first)
    captions = [[row[f"caption_{i}"] for i in range(len(TEMPLATES))] for row in split.remove_columns("image")]
    return CaptionedImages("shapes", split, captions)


def save_caption_dataset(folder: Path, train: int = 12, validation: int = 6, test: int = 6) -> None:
    for split, rows in (("train", train), ("validation", validation), ("test", test)):
        caption_split(rows, first=len(split)).to_parquet(str(folder / f"{split}-00000-of-00001.parquet"))
