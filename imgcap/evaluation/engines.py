"""Compare the captions of an exported model with those of the PyTorch model that it was made from."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from imgcap.data.loading import CaptionedImages
from imgcap.evaluation.metrics import cider_of_each
from imgcap.inference.checkpoint import load_captioner
from imgcap.inference.engines.engine import Engine
from imgcap.inference.engines.manifest import FOLDER
from imgcap.inference.engines.onnx_engine import GRAPHS, OnnxEngine, file_name
from imgcap.inference.engines.torch_engine import TorchEngine
from imgcap.inference.files import Description, describe
from imgcap.inference.threads import multiplies_int8, usable_cores
from imgcap.inference.writer import Writer

BATCH = 16


def rgb(image: Any) -> NDArray[np.uint8]:
    """Return a data set's image as (H, W, 3), uint8 RGB."""
    return np.asarray(image.convert("RGB"))


def prepare_batches(writer: Writer, rows: CaptionedImages, what: str) -> Iterator[NDArray[Any]]:
    """Yield a split's images prepared for the writer's engine, `BATCH` at a time, with a progress bar."""
    for start in tqdm(range(0, len(rows), BATCH), desc=what, mininterval=5):
        yield np.stack([writer.prepare(rgb(image)) for image in rows.images[start : start + BATCH]])


def write_all(writer: Writer, rows: CaptionedImages) -> list[str]:
    """Return a caption, as shown, for each row."""
    captions: list[str] = []
    for pixels in prepare_batches(writer, rows, writer.engine.description):
        captions += [caption.caption for caption in writer.captions(writer.write(pixels, "normal"))]
    return captions


def score_engines(
    engines: Iterable[tuple[str, Engine[Any]]], description: Description, rows: CaptionedImages
) -> Iterator[tuple[str, float, float]]:
    """Caption rows of a split with several engines of one captioner, all with the same beam search.

    Args:
        engines: their names, and themselves.
        description: of the captioner.
        rows: the images and their references.

    Yields:
        Of each engine its name, its CIDEr-D, and the share of captions that are exactly those of the first engine.
    """
    expected: list[str] = []
    for name, engine in engines:
        captions = write_all(Writer(engine, description), rows)
        expected = expected or captions
        same = np.mean([one == other for one, other in zip(captions, expected, strict=True)])
        yield name, float(cider_of_each(captions, rows.captions).mean()), float(same)


def compare_engines(folder: Path, rows: CaptionedImages) -> dict[str, Any]:
    """Caption rows of a validation split with PyTorch in float32 and with the exported files in `folder`.

    Returns:
        "n", the number of rows; "torch", "float32" and "int8", the CIDEr-D of each available engine, all with the same
        beam search; "same", the share of captions on which the int8 engine and PyTorch agree exactly.
    """
    engines: dict[str, Engine[Any]] = {"torch": TorchEngine(load_captioner(str(folder))[0])}
    for name, quantized in (("float32", False), ("int8", True)):
        if all((folder / FOLDER / file_name(graph, quantized=quantized)).is_file() for graph in GRAPHS):
            engines[name] = OnnxEngine(
                folder / FOLDER, quantized=quantized, threads=usable_cores(), exact_sums=not multiplies_int8()
            )
    result: dict[str, Any] = {"n": len(rows)}
    for name, cider, same in score_engines(engines.items(), describe(folder, str(folder)), rows):
        result[name] = cider
        if name == "int8":
            result["same"] = same
    return result
