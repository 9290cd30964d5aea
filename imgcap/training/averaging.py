"""Average the weights of checkpoints."""

from imgcap.model import torchvision_ops  # noqa: F401, I001 - must come before torchvision and transformers

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers.trainer_utils import sort_checkpoints

from imgcap.errors import InputError
from imgcap.inference.checkpoint import UNREADABLE
from imgcap.model import ImgcapForImageCaptioning


def last_checkpoints(run: Path, count: int) -> list[Path]:
    """Return the last `count` checkpoints that the run in a folder kept, in order; fewer if it kept fewer."""
    return [Path(folder) for folder in sort_checkpoints(str(run / "checkpoints"))[-count:]]


def average(folders: Sequence[Path]) -> dict[str, Tensor]:
    """Return the mean of several checkpoints' weights as a state dict on the CPU.

    The weights at the end of a run wander about a minimum, and their mean is nearer to it than any of them (Izmailov et
    al., 2018, arXiv:1803.05407; over a run's last checkpoints: Vaswani et al., 2017, arXiv:1706.03762).

    Args:
        folders: checkpoints of one captioner. Tensors that hold no floating-point numbers are taken from the last one.

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
    # In float64 the mean of equal numbers is that number, so a frozen encoder stays exactly as it was.
    return {
        name: torch.stack([state[name] for state in states]).double().mean(0).float()
        if tensor.is_floating_point()
        else tensor
        for name, tensor in last.items()
    }


def interpolate(weights: Mapping[str, Tensor], start: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return weights on the line from `weights`, at share 0, to `start`, at share 1.

    The mean of fine-tuned weights and those before fine-tuning is often better than either (Wortsman et al., 2022,
    arXiv:2109.01903).

    Args:
        weights: a state dict. Tensors that hold no floating-point numbers are taken from it, and so is the device.
        start: another state dict of the same captioner, on any device.
        share: of `start`, 0-1.
    """
    return {
        name: torch.lerp(tensor, start[name].to(tensor.device), share) if tensor.is_floating_point() else tensor
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
