"""Check the weights in an ONNX file without the `onnx` package, which serving does not need.

An ONNX file is one message of Protocol Buffers; the numbers of its fields are in onnx.proto
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). Running the graph would not find a broken weight, because
rounding to int8 makes every value finite.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

MODEL_GRAPH, GRAPH_NODE, GRAPH_INITIALIZER, NODE_ATTRIBUTE, ATTRIBUTE_TENSOR = 7, 1, 5, 5, 5
TENSOR_TYPE, TENSOR_FLOATS, TENSOR_DOUBLES, TENSOR_RAW = 2, 4, 10, 9
TYPES: dict[int, type[np.floating[Any]]] = {1: np.float32, 10: np.float16, 11: np.float64}
VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5


def has_broken_weight(path: Path) -> bool:
    """Return whether a tensor in an ONNX file with more than one number holds NaN or infinity.

    A single infinite number may be intended, as the end of a range.

    Raises:
        ValueError: the file is not an ONNX file.
    """
    content = memoryview(path.read_bytes())
    try:
        return any(_is_broken(tensor) for graph in _all(content, MODEL_GRAPH) for tensor in _tensors(graph))
    except (IndexError, KeyError) as error:
        raise ValueError(f"{path} is no ONNX file") from error


def _tensors(graph: memoryview) -> Iterator[memoryview]:
    yield from _all(graph, GRAPH_INITIALIZER)
    for node in _all(graph, GRAPH_NODE):
        for attribute in _all(node, NODE_ATTRIBUTE):
            yield from _all(attribute, ATTRIBUTE_TENSOR)


def _is_broken(tensor: memoryview) -> bool:
    kind = next((value for number, value in _fields(tensor) if number == TENSOR_TYPE), 0)
    if kind not in TYPES:
        return False
    values = (TENSOR_FLOATS, TENSOR_DOUBLES, TENSOR_RAW)
    numbers = [
        np.frombuffer(value, TYPES[kind])
        for number, value in _fields(tensor)
        if number in values and isinstance(value, memoryview)
    ]
    return any(len(array) > 1 and not np.isfinite(array).all() for array in numbers)


def _all(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """Yield the contents of every field of one number that holds bytes."""
    for number, value in _fields(message):
        if number == wanted and isinstance(value, memoryview):
            yield value


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield each field of a message as its number and value: an integer for a varint, otherwise bytes."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        length = {EIGHT_BYTES: 8, FOUR_BYTES: 4}.get(kind)
        if length is None:
            if kind != BYTES:
                raise KeyError(kind)
            length, place = _varint(message, place)
        if place + length > len(message):
            raise IndexError(place)
        yield number, message[place : place + length]
        place += length


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Return an integer, stored with seven bits per byte and the lowest first, and the position after it."""
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
