"""A captioner in a folder or on the Hub: loading it, averaging several, and saving one small."""

from imgcap.model import torchvision_ops  # noqa: F401, I001 - must come before torchvision and transformers

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers.trainer_utils import sort_checkpoints

from imgcap.errors import InputError
from imgcap.model import ImgcapForImageCaptioning, ImgcapProcessor


UNREADABLE = (OSError, ValueError, KeyError, SafetensorError)  # what loading raises where there is no captioner


def load_captioner(source: str) -> tuple[ImgcapForImageCaptioning, ImgcapProcessor]:
    """The model (float32, evaluation mode) and the processor at `source`, a folder or a Hub id.

    Raises:
        InputError: nothing there that this version can load.
    """
    try:
        model = ImgcapForImageCaptioning.from_pretrained(source, dtype=torch.float32)
        processor = ImgcapProcessor.from_pretrained(source)
    except UNREADABLE as error:
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


def last_checkpoints(run: Path, count: int) -> list[Path]:
    """The checkpoints of the last `count` epochs that the run in `run` kept, in order; fewer if it kept fewer."""
    return [Path(folder) for folder in sort_checkpoints(str(run / "checkpoints"))[-count:]]


def average(folders: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of several checkpoints' weights, in the state dict of one.

    The weights at the end of a run wander about a minimum; their mean is nearer to it than any of them (Izmailov et
    al., 2018, arXiv:1803.05407; over a run's last checkpoints: Vaswani et al., 2017, arXiv:1706.03762).

    Args:
        folders: checkpoints of one captioner, the last one last: it gives what is no floating-point number.

    Raises:
        InputError: there is none, one cannot be read, or their tensors do not match.
    """
    if not folders:
        raise InputError("There is no checkpoint to average: give at least one folder.")
    states = [_state(folder) for folder in folders]
    last = states[-1]
    for folder, state in zip(folders, states, strict=True):
        wrong = [n for n in state | last if n not in state or n not in last or state[n].shape != last[n].shape]
        if wrong:
            raise InputError(
                f"The checkpoints cannot be averaged: {wrong[0]} in {str(folder)!r} is not as in {str(folders[-1])!r}."
            )
    # In float64 the mean of equal numbers is that number: an encoder that was frozen stays what it was.
    return {
        name: torch.stack([state[name] for state in states]).double().mean(0).float()
        if tensor.is_floating_point()
        else tensor
        for name, tensor in last.items()
    }


def interpolate(weights: Mapping[str, Tensor], start: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Weights on the line from `weights`, where share is 0, to `start`, where it is 1.

    Fine-tuned weights mixed with those they were tuned from often do better than either (Wortsman et al., 2022,
    arXiv:2109.01903).

    Args:
        weights: a state dict; what is no floating-point number is taken from it.
        start: another of the same captioner.
        share: of `start`, 0-1.
    """
    return {
        name: torch.lerp(tensor, start[name], share) if tensor.is_floating_point() else tensor
        for name, tensor in weights.items()
    }


def _state(folder: Path) -> dict[str, Tensor]:
    try:
        # Through the model, because a file leaves tied weights out.
        model = ImgcapForImageCaptioning.from_pretrained(str(folder), dtype=torch.float32)
    except UNREADABLE as error:
        raise InputError(f"There is no checkpoint that can be read in {str(folder)!r}.") from error
    state: dict[str, Tensor] = model.state_dict()
    return state
