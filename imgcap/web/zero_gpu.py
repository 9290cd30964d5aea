"""What Hugging Face's ZeroGPU asks of an app: a function that runs on its GPU.

ZeroGPU lends a GPU for the length of one call, which waits for its turn and is charged to the visitor's quota. With
ONNX files the CPU is fast enough (docs/speed.md), so captions never ask for it. ZeroGPU refuses to start an app without
such a function all the same, and this is it.
"""

import os
from collections.abc import Callable


def name_gpu() -> str:
    """Return the name of the GPU that PyTorch sees; empty if there is none, or no PyTorch."""
    try:
        import torch
    except ImportError:
        return ""
    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else ""


def register() -> Callable[[], str]:
    """Return `name_gpu`, registered with ZeroGPU where this app runs on it, and plain elsewhere.

    It has to be called before the page is launched.
    """
    if "SPACES_ZERO_GPU" not in os.environ:
        return name_gpu
    import spaces

    registered: Callable[[], str] = spaces.GPU(name_gpu)
    return registered
