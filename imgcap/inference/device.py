"""Choose where the model runs."""

import torch


def device() -> torch.device:
    """Return the device for the model and its inputs: the first CUDA device if there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
