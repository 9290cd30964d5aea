"""Make torchvision importable beside a torch build that its compiled library does not fit.

PyPI's torchvision 0.28 is built against CUDA; beside a CPU build of torch its C library cannot load, and
`import torchvision` stops with "operator torchvision::nms does not exist". Nothing here calls a compiled operator,
so declaring the two that torchvision's Python code names is enough. Import this module before torchvision or
transformers. If the C library loads, it does nothing.
"""

import importlib.util
from pathlib import Path

import torch


def _c_library_loads() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # there is no torchvision; importing it will say so
    for library in Path(spec.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            return False
    return True


def declare_missing_operators() -> torch.library.Library | None:
    """Declare `torchvision::nms` and `torchvision::qnms` if the C library cannot; the result must stay referenced."""
    if _c_library_loads():
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


_LIBRARY = declare_missing_operators()
