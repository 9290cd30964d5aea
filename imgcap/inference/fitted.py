"""Write and read the small files that calibration stores beside a captioner's weights."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from imgcap.errors import InputError

T = TypeVar("T")


def write_fitted(path: Path, tensors: Mapping[str, NDArray[Any]], metadata: dict[str, str] | None = None) -> None:
    """Write named arrays into a safetensors file that every user may read."""
    # save_file would make a file that only its owner may read.
    path.write_bytes(save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, metadata=metadata))


def read_fitted(path: Path, build: Callable[[Any], T]) -> T | None:
    """Return the result of `build` for an opened safetensors file; None if the file does not exist.

    Raises:
        InputError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            return build(file)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged; fit it again with `imgcap calibrate-confidence`.") from error
