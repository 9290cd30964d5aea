"""A captioner in a folder or on the Hub: loading it, and saving it small."""

from imgcap import torchvision_ops  # noqa: F401, I001 - must come before torchvision and transformers

from pathlib import Path

import torch
from safetensors import SafetensorError

from imgcap.errors import InputError
from imgcap.model import ImgcapForImageCaptioning, ImgcapProcessor


def load_captioner(source: str) -> tuple[ImgcapForImageCaptioning, ImgcapProcessor]:
    """The model (float32, evaluation mode) and the processor at `source`, a folder or a Hub id.

    Raises:
        InputError: nothing there that this version can load.
    """
    try:
        model = ImgcapForImageCaptioning.from_pretrained(source, dtype=torch.float32)
        processor = ImgcapProcessor.from_pretrained(source)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(
            f"No captioner can be loaded from {source!r}: give a folder that train.py wrote, or a Hub id."
        ) from error
    return model.eval(), processor


def save_captioner(folder: Path, model: ImgcapForImageCaptioning, processor: ImgcapProcessor) -> None:
    """Write weights, configuration, processor and their code to `folder`.

    Matrices and kernels are stored in float16, half the size; batch normalisation and biases stay in float32, since
    their range is wide and they weigh nothing. The configuration still says float32, so loading brings back that.
    """
    state = {name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=state)
    processor.save_pretrained(folder)
