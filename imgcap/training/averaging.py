"""Average the weights of checkpoints, and join the decoders of several captioners in one."""

from imgcap.model import torchvision_ops  # noqa: F401, I001 - must come before torchvision and transformers

import copy
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

    At the end of a run the weights move around a minimum, and their mean is closer to the minimum than any of them
    (Izmailov et al., 2018, arXiv:1803.05407; for a run's last checkpoints: Vaswani et al., 2017, arXiv:1706.03762).

    Args:
        folders: checkpoints of one captioner. Tensors without floating-point numbers are taken from the last one.

    Raises:
        InputError: no folder is given, a checkpoint cannot be read, or their tensors do not match.
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
        weights: a state dict, which also gives the device and the tensors without floating-point numbers.
        start: another state dict of the same captioner, on any device.
        share: share of `start`, 0-1.
    """
    return {
        name: torch.lerp(tensor, start[name].to(tensor.device), share) if tensor.is_floating_point() else tensor
        for name, tensor in weights.items()
    }


def _state(folder: Path) -> dict[str, Tensor]:
    try:
        # The model is loaded because its file leaves tied weights out.
        model = ImgcapForImageCaptioning.from_pretrained(str(folder), dtype=torch.float32)
    except UNREADABLE as error:
        raise InputError(f"There is no checkpoint that can be read in {str(folder)!r}.") from error
    state: dict[str, Tensor] = model.state_dict()
    return state


_DECODERS = ("decoder.", "more_decoders.")  # prefixes of tensors that decoders do not share


def join_decoders(models: Sequence[ImgcapForImageCaptioning]) -> ImgcapForImageCaptioning:
    """Return one captioner with the decoders of all given ones, which averages their probabilities at each word.

    Args:
        models: captioners of one kind, with the same encoder, words, softmax layer and projection of the grid
            (`train_shared: false` keeps them the same), since a checkpoint stores those once.

    Raises:
        InputError: the captioners differ in one of these, which the message names.
    """
    first = models[0]
    config = copy.deepcopy(first.config)
    config.decoders = sum(len(model.decoders) for model in models)
    config.confidence_slope = config.confidence_intercept = None  # they belong to the first captioner alone
    joint = ImgcapForImageCaptioning(config)
    state = {name: tensor for name, tensor in first.state_dict().items() if not name.startswith(_DECODERS)}
    for model in models[1:]:
        own = model.state_dict()
        for name, tensor in state.items():
            if name not in own or not torch.equal(own[name], tensor):
                raise InputError(f"The decoders cannot be joined: their captioners differ in {name}.")
    decoders = [decoder for model in models for decoder in model.decoders]
    for i, decoder in enumerate(decoders):
        prefix = f"more_decoders.{i - 1}." if i else "decoder."
        for name, tensor in decoder.state_dict().items():
            shared = decoders[0].state_dict().get(name)
            if shared is None or shared.shape != tensor.shape:
                raise InputError(f"The decoders cannot be joined: they are of different kinds or sizes ({name}).")
            if name.startswith("project.") and not torch.equal(tensor, shared):
                raise InputError(f"The decoders cannot be joined: their captioners differ in decoder.{name}.")
            state[prefix + name] = tensor
    joint.load_state_dict(state)
    joint.eval()
    return joint
