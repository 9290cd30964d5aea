"""Load a captioner from a folder or the Hub, and save one at half the size."""

from imgcap.model import torchvision_ops  # noqa: F401, I001 - must come before torchvision and transformers

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError

from imgcap.errors import InputError
from imgcap.inference.files import find_folder, unloadable
from imgcap.model import ImgcapForImageCaptioning, ImgcapProcessor

# What loading raises if there is no captioner.
UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)


def load_captioner(source: str) -> tuple[ImgcapForImageCaptioning, ImgcapProcessor]:
    """Return the model (float32, on the CPU, in evaluation mode) and the processor at a folder or `ID[@REVISION]`.

    Raises:
        InputError: this version can load no captioner from there.
    """
    folder = find_folder(source)
    try:
        model, loaded = ImgcapForImageCaptioning.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
        processor = ImgcapProcessor.from_pretrained(folder)
    except UNREADABLE as error:
        raise InputError(unloadable(source)) from error
    _check_weights(source, model, sorted(loaded["missing_keys"]))
    return model.eval(), processor


def _check_weights(source: str, model: ImgcapForImageCaptioning, missing: Sequence[str]) -> None:
    """Raise InputError if a weight was missing, and would be random, or is not finite, and would spread NaN."""
    if missing:
        raise InputError(
            f"The captioner in {source!r} lacks {missing[0]!r}, since it is damaged or another version wrote it: copy "
            "its files again, or take another."
        )
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise InputError(f"{name!r} of the captioner in {source!r} is not finite: take another checkpoint.")


def save_captioner(folder: Path, model: ImgcapForImageCaptioning, processor: ImgcapProcessor) -> None:
    """Write weights, configuration, processor and their code into a folder.

    Matrices and kernels are stored in float16, at half the size; batch normalisation and biases stay in float32,
    because they have a wide range and take little space. The configuration says float32, so loading gives float32.
    """
    state = {name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=state)
    processor.save_pretrained(folder)
