"""Register the function that Hugging Face's ZeroGPU requires of every app.

ZeroGPU lends a GPU for the duration of one call, which waits for its turn and is charged to the visitor's quota. With
ONNX files the CPU is fast enough (docs/speed.md), so captions never use the GPU. But ZeroGPU refuses to start an app
without any function for its GPU, so this module provides one.
"""

import os
from collections.abc import Callable


def name_gpu() -> str:
    """Return the name of PyTorch's GPU; empty without a GPU or without PyTorch."""
    try:
        import torch
    except ImportError:
        return ""
    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else ""


def register() -> Callable[[], str]:
    """Return `name_gpu`, registered with ZeroGPU if this app runs there.

    It must be called before the page is launched.
    """
    if "SPACES_ZERO_GPU" not in os.environ:
        return name_gpu
    import spaces

    registered: Callable[[], str] = spaces.GPU(name_gpu)
    return registered
