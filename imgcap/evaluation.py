"""Captions for a whole split, and their scores: what `python -m imgcap evaluate` prints."""

from collections.abc import Iterable, Iterator
from typing import Any

import datasets
import torch
from tqdm import tqdm

from imgcap import data
from imgcap.checkpoint import load_captioner
from imgcap.metrics import score
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


def evaluate(model: str, source: str, split: str, limit: int | None = None) -> dict[str, Any]:
    """Score a captioner on a split: no blur gate, the default beam, raw references, captions as shown.

    Args:
        model: folder or Hub id of the captioner.
        source: folder or Hub id of the data set.
        split: its split.
        limit: only the first so many pictures.

    Returns:
        model, split, n and what `imgcap.metrics.score` returns.

    Raises:
        InputError: model, data set or split cannot be read.
    """
    captioner, processor = load_captioner(model)
    dataset = data.drop_unusable(data.load_split(source, split), f"{source} {split}")
    if limit is not None:
        dataset = dataset.select(range(min(limit, len(dataset))))
    captions = write_captions(captioner, processor, picture_batches(dataset, processor))
    return {"model": model, "split": split, "n": len(dataset), **score(captions, data.references(dataset))}
