"""Bytes, file or link -> RGB array, safely: the one door through which pictures come in."""

import io
import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgcap.errors import InputError
from imgcap.links import fetch, fetch_async
from imgcap.sandbox import Sandbox
from imgcap.settings import get_settings

__all__ = ["decode", "fetch", "fetch_async", "load", "read_file", "thumbnail"]

_sandbox = Sandbox()


def decode(data: bytes) -> NDArray[np.uint8]:
    """The picture in `data`: (H, W, 3) uint8, upright sRGB."""
    settings = get_settings()
    if not data:
        raise InputError("The file is empty: choose a picture.")
    if len(data) > settings.max_bytes:
        raise InputError(too_large())
    return _sandbox.decode(data, settings.max_pixels)


def too_large() -> str:
    """The sentence for a file or link above `max_bytes`."""
    return f"The picture is larger than {get_settings().max_bytes / 2**20:.3g} MB: send a smaller copy."


def read_file(path: str | Path) -> NDArray[np.uint8]:
    """`decode` of a regular file."""
    try:
        found = Path(path).stat()
        if stat.S_ISDIR(found.st_mode):
            raise InputError(f"{path} is a folder: name a picture in it.")
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path} is not a regular file: name a picture.")
        if found.st_size > get_settings().max_bytes:
            raise InputError(too_large())
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"There is no file {path}: check its name.") from None
    except (OSError, ValueError):
        raise InputError(f"The file {path} cannot be read: check its name and permissions.") from None
    return decode(data)


def load(source: str) -> NDArray[np.uint8]:
    """The picture at a path or an http(s) link."""
    if "://" in source:
        return decode(fetch(source))
    return read_file(source)


def thumbnail(image: NDArray[np.uint8], side: int = 160) -> bytes:
    """A WebP copy of `image` (H, W, 3) that fits in `side` x `side` pixels, without metadata."""
    small = Image.fromarray(image)
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=75)
    return buffer.getvalue()
