"""Bytes, file or link -> RGB array, safely: the one door through which pictures come in.

Guaranteed, for any bytes whatever:
- The answer is an array, or an InputError of one sentence.
- The kind is told by the content: JPEG (an MPO's first picture), PNG, WebP and GIF (an animation's first frame),
  HEIC/HEIF, AVIF, TIFF (the first page) or BMP. No name, extension or Content-Type is believed.
- No file above `IMGCAP_MAX_BYTES` is opened, and no picture above `IMGCAP_MAX_PIXELS` comes out.
- Decoding takes at most 5 seconds of processor time and `imgcap.images.sandbox.memory_limit` bytes, in another process:
  a hang, a flood of memory or a crash in a decoder stays there.
- The array is upright (EXIF orientation), opaque (on white) and sRGB; nothing of the metadata, such as the place,
  is kept.

Not guaranteed: that a damaged file is noticed where its format has no checksum (a JPEG with wrong bits decodes to
wrong pixels), or that an attacker who takes over a decoder is held: a child has limits, but the user's own rights.
"""

import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imgcap.errors import InputError
from imgcap.images.links import fetch, fetch_async
from imgcap.images.sandbox import Sandbox
from imgcap.settings import get_settings

__all__ = ["decode", "fetch", "fetch_async", "load", "read_file"]

_sandbox = Sandbox()


def decode(data: bytes) -> NDArray[np.uint8]:
    """The picture in `data`.

    Returns:
        (H, W, 3) uint8 RGB: upright, transparent parts white, colours converted to sRGB by its ICC profile.

    Raises:
        InputError: it is empty, too large, not a picture, of an unsupported kind, damaged, of too many pixels, or takes
            too much work.
    """
    settings = get_settings()
    if not data:
        raise InputError("The file is empty: choose a picture.")
    if len(data) > settings.max_bytes:
        raise InputError(f"The file is larger than {settings.max_bytes / 2**20:.3g} MB: send a smaller copy.")
    return _sandbox.decode(data, settings.max_pixels)


def read_file(path: str | Path) -> NDArray[np.uint8]:
    """`decode` of the regular file at `path`. Raises InputError also where there is none to read."""
    try:
        mode = Path(path).stat().st_mode  # before it is opened: a pipe would wait for ever
        data = _read(Path(path)) if stat.S_ISREG(mode) else None
    except FileNotFoundError:
        raise InputError("There is no file of that name: check it.") from None
    except (OSError, ValueError):
        raise InputError("The file cannot be read: check its name and permissions.") from None
    if data is None:
        raise InputError("That is a folder or a device, not a file: name a picture.")
    return decode(data)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(get_settings().max_bytes + 1)


def load(source: str) -> NDArray[np.uint8]:
    """`decode` of what is at `source`: an http(s) link where it has a scheme, otherwise a path.

    Not for a thread with a running event loop: there, `decode(await fetch_async(url))`.
    """
    return decode(fetch(source)) if "://" in source else read_file(source)
