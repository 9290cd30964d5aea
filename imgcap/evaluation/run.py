"""Write captions for a whole split and score them, for `imgcap evaluate`."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from imgcap.data.loading import CaptionedImages, load_rows
from imgcap.evaluation.metrics import score
from imgcap.evaluation.mistakes import count_mistakes
from imgcap.evaluation.report import check_place, write_report
from imgcap.evaluation.variety import compare_variety
from imgcap.inference.checkpoint import load_captioner
from imgcap.inference.engines.device import device
from imgcap.inference.engines.engine import Encoding
from imgcap.inference.engines.graphs import EncoderGraph
from imgcap.inference.engines.torch_engine import TorchEngine, encoding_of
from imgcap.inference.files import describe, find_folder
from imgcap.inference.judging.alternatives import Candidate
from imgcap.inference.writer import Writer
from imgcap.model import ImgcapForImageCaptioning, ImgcapProcessor


@dataclass(frozen=True)
class CaptionedSplit:
    """The default captions of a split's images.

    rows: the images with their references.
    captions: one sentence for each image, as it is shown to people.
    log_probabilities: mean log-probability per token of each caption, shape (len(rows),).
    """

    rows: CaptionedImages
    captions: list[str]
    log_probabilities: NDArray[np.float64]


@torch.inference_mode()
def encode(
    model: ImgcapForImageCaptioning, processor: ImgcapProcessor, rows: CaptionedImages, batch_size: int = 32
) -> Iterator[Encoding]:
    """Encode the images in order; the grids are on the model's device.

    Args:
        model: in evaluation mode.
        processor: makes pixel_values.
        rows: the images.
        batch_size: images encoded together.
    """
    graph = EncoderGraph(model.encoder)
    for start in tqdm(range(0, len(rows), batch_size), desc="images", mininterval=5):
        images = [image.convert("RGB") for image in rows.images[start : start + batch_size]]
        pixels = processor.image_processor(images, return_tensors="pt")["pixel_values"].to(model.device)
        yield encoding_of(*graph(pixels))


def write_captions(writer: Writer, encodings: Iterable[Encoding]) -> list[Candidate]:
    """Return the caption of each image as users see it, with its mean log-probability per token.

    Args:
        writer: the captioner's writer, with its default decoding.
        encodings: batches of images, encoded on the engine's device.
    """
    return [beams[0] for encoding in encodings for beams in writer.search(encoding, "normal").beams]


def caption_split(model: str, rows: CaptionedImages) -> CaptionedSplit:
    """Write the default captions of a split as users see them, but without the blur check.

    Args:
        model: folder or Hub id of the captioner.
        rows: the images.

    Raises:
        InputError: the captioner cannot be loaded.
    """
    writer, encode_rows = open_reference(model)
    return collect(rows, write_captions(writer, encode_rows(rows)))


def open_reference(model: str) -> tuple[Writer, Callable[[CaptionedImages], Iterator[Encoding]]]:
    """Open a captioner for scoring: in PyTorch and float32, with its own image processor.

    Returns:
        The writer, and a function that encodes images for it as `encode` does.

    Raises:
        InputError: the captioner cannot be loaded.
    """
    folder = find_folder(model)
    captioner, processor = load_captioner(str(folder))
    writer = Writer(TorchEngine(captioner, device()), describe(folder, model))
    return writer, partial(encode, captioner, processor)


def collect(rows: CaptionedImages, written: Iterable[Candidate]) -> CaptionedSplit:
    """Return a split with the captions that were written for its images."""
    captions = list(written)
    return CaptionedSplit(rows, [one.text for one in captions], np.array([one.log_probability for one in captions]))


def summarize(model: str, split: str, captioned: CaptionedSplit) -> dict[str, Any]:
    """Return a split's numbers.

    Returns:
        "model", "split", "n", the scores of `imgcap.evaluation.metrics.score` against the raw references, and under
        "variety" the result of `imgcap.evaluation.variety.compare_variety`.
    """
    captions, references = captioned.captions, captioned.rows.captions
    scores = score(captions, references)
    variety = compare_variety(captions, references)
    return {"model": model, "split": split, "n": len(captioned.rows), **scores, "variety": variety}


def save_scores(folder: Path, captioned: CaptionedSplit, summary: Mapping[str, Any]) -> None:
    """Write scores.json and mistakes.json, from which the model card is made, into a folder."""
    mistakes = count_mistakes(captioned.captions, captioned.rows.captions)
    for name, content in (("scores", summary), ("mistakes", mistakes)):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")


def evaluate(
    model: str,
    source: str,
    split: str,
    limit: int | None = None,
    report: Path | None = None,
    record: Path | None = None,
) -> dict[str, Any]:
    """Caption a split and return the result of `summarize`.

    Args:
        model: folder or Hub id of the captioner.
        source: folder or Hub id of the data set.
        split: its split.
        limit: maximum number of images.
        report: file for a page that shows the images, their captions and references; see `imgcap.evaluation.report`.
        record: folder for the files of `save_scores`.

    Raises:
        InputError: model, data set or split cannot be read, or the report cannot be written.
    """
    if report is not None:
        check_place(report)
    captioned = caption_split(model, load_rows(source, split, limit))
    summary = summarize(model, split, captioned)
    if report is not None:
        write_report(report, summary, captioned.rows, captioned.captions)
    if record is not None:
        save_scores(record, captioned, summary)
    return summary
