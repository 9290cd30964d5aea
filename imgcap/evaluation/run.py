"""Captions for a whole split, and their scores: what `python -m imgcap evaluate` prints."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
from tqdm import tqdm

from imgcap.data import loading as data
from imgcap.evaluation.metrics import score
from imgcap.evaluation.report import check_place, write_report
from imgcap.inference.checkpoint import load_captioner
from imgcap.model import ImgcapForImageCaptioning, ImgcapProcessor


@torch.inference_mode()
def write_captions(
    model: ImgcapForImageCaptioning, processor: ImgcapProcessor, batches: Iterable[dict[str, Any]], **generation: Any
) -> list[str]:
    """One caption a picture, as a person reads it, by the model's default beam.

    Args:
        model: in evaluation mode or not; it is left in the mode it came in.
        processor: turns ids into sentences.
        batches: keyword arguments of `generate`, either pixel_values (B, 3, S, S) or encoder_outputs.
        generation: overrides of the model's generation configuration.
    """
    was_training = model.training
    model.eval()
    captions: list[str] = []
    for batch in batches:
        captions += processor.sentences(model.generate(**batch, **generation))
    model.train(was_training)
    return captions


def picture_batches(
    dataset: datasets.Dataset, processor: ImgcapProcessor, batch_size: int = 32
) -> Iterator[dict[str, Any]]:
    """The pictures of a split as pixel_values, in order."""
    for start in tqdm(range(0, len(dataset), batch_size), desc="captions", mininterval=5):
        images = [image.convert("RGB") for image in dataset[start : start + batch_size]["image"]]
        yield {"pixel_values": processor.image_processor(images, return_tensors="pt")["pixel_values"]}


def caption_split(model: str, source: str, split: str, limit: int | None = None) -> tuple[datasets.Dataset, list[str]]:
    """Write a split's captions: no blur gate, the default beam, captions as shown.

    Args:
        model: folder or Hub id of the captioner.
        source: folder or Hub id of the data set.
        split: its split.
        limit: only the first so many pictures.

    Returns:
        The rows captioned, and one caption for each in their order.

    Raises:
        InputError: model, data set or split cannot be read.
    """
    captioner, processor = load_captioner(model)
    dataset = data.drop_unusable(data.load_split(source, split), f"{source} {split}")
    if limit is not None:
        dataset = dataset.select(range(min(limit, len(dataset))))
    return dataset, write_captions(captioner, processor, picture_batches(dataset, processor))


def summarize(model: str, split: str, dataset: datasets.Dataset, captions: Sequence[str]) -> dict[str, Any]:
    """Return model, split, n and the scores of a split's captions against the raw references."""
    return {"model": model, "split": split, "n": len(dataset), **score(captions, data.references(dataset))}


def evaluate(
    model: str, source: str, split: str, limit: int | None = None, report: Path | None = None
) -> dict[str, Any]:
    """What `summarize` says of the captions that `caption_split` writes, with its arguments and errors.

    Args:
        model: as there.
        source: as there.
        split: as there.
        limit: as there.
        report: file for a page that shows the pictures, their captions and references; see `imgcap.evaluation.report`.
    """
    if report is not None:
        check_place(report)
    dataset, captions = caption_split(model, source, split, limit)
    summary = summarize(model, split, dataset, captions)
    if report is not None:
        write_report(report, summary, dataset, captions)
    return summary
