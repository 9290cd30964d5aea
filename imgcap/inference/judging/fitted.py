"""Write and read the small files that calibration stores beside a captioner's weights."""

from collections.abc import Callable, Collection, Mapping
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
        InputError: the file is damaged or from another version.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            return build(file)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is damaged or from another version; fit it again with `imgcap calibrate-confidence`."
        ) from error


def pack_ngrams(ngrams: Collection[tuple[int, ...]]) -> dict[str, NDArray[Any]]:
    """Return n-grams of word ids, at most 4 words each and ids below 65536, as arrays for `write_fitted`."""
    ids = np.zeros((len(ngrams), 4), np.uint16)
    for row, ngram in enumerate(ngrams):
        ids[row, : len(ngram)] = ngram
    return {"grams": ids, "lengths": np.array([len(ngram) for ngram in ngrams], np.uint8)}


def unpack_ngrams(file: Any) -> list[tuple[int, ...]]:
    """Return the n-grams that `pack_ngrams` packed into an opened file."""
    ids, lengths = file.get_tensor("grams").tolist(), file.get_tensor("lengths").tolist()
    return [tuple(row[:length]) for row, length in zip(ids, lengths, strict=True)]
