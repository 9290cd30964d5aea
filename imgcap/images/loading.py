"""Read an image from bytes, a file or a link into an RGB array, safely. Every interface reads images with it.

This module guarantees for any bytes:
- The result is an array, or an InputError of one sentence.
- The content decides the format: JPEG (an MPO's first image), PNG, WebP and GIF (an animation's first frame),
  HEIC/HEIF, AVIF, TIFF (the first page that is not a reduced copy) or BMP. Names, extensions and Content-Types are
  ignored.
- No file of more than `ImageLimits.max_bytes` is decoded, no image of more than `max_pixels`, and none with a side
  outside the bounds of `imgcap.images.pixels`. Large images are shrunk to at most 16 million pixels.
- Decoding takes at most 5 seconds of processor time and `imgcap.images.sandbox.memory_limit` bytes, in another process,
  so a decoder that hangs, uses up its memory or crashes affects only that process.
- The array is upright (EXIF orientation), opaque (on white) and sRGB; no metadata, such as the place, is kept.

It does not guarantee that damage is noticed in a format without a checksum (a JPEG with wrong bits decodes to wrong
pixels), or that an attacker who takes over a decoder is contained: a child has limits, but also the user's own rights.
"""

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgcap.errors import InputError
from imgcap.images import links
from imgcap.images.limits import ImageLimits
from imgcap.images.sandbox import Sandbox


class ImageLoader:
    """Reads images within limits. Any thread may call.

    Decoding happens in a few child processes, which belong to this loader and start when they are first needed.

    Args:
        limits: limits of the files.
        module: module that the children run; it decodes as `imgcap.images.pixels` does.
    """

    def __init__(self, limits: ImageLimits, module: str = "imgcap.images.pixels") -> None:
        self.limits = limits
        self._sandbox = Sandbox(module=module)

    def decode(self, data: bytes, max_pixels: int | None = None) -> NDArray[np.uint8]:
        """Decode the image in `data`.

        Args:
            data: a whole file.
            max_pixels: a lower limit than `limits.max_pixels`, for images that must not take long.

        Returns:
            (H, W, 3) uint8 RGB: upright, transparent parts white, colours converted to sRGB by the ICC profile. Blocks
            of a large image's pixels are averaged (`imgcap.images.pixels.reduction`).

        Raises:
            InputError: the file is empty, not an image, of an unsupported kind, damaged, too small, too large, takes
                too much work, or its decoder was stopped.
        """
        return self.examine(data, {}, max_pixels)[0]

    def examine(
        self, data: bytes, options: Mapping[str, object], max_pixels: int | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Return the result of `decode`, and what the child's module found out about the pixels.

        Args:
            data: a whole file.
            options: fields of the request for the child's module.
            max_pixels: as for `decode`.

        Raises:
            InputError: as `decode`.
        """
        if not data:
            raise InputError("The file is empty: choose a picture.")
        if len(data) > self.limits.max_bytes:
            raise InputError(f"The file is larger than {self.limits.max_bytes / 2**20:.3g} MB: send a smaller copy.")
        most = min(max_pixels or self.limits.max_pixels, self.limits.max_pixels)
        return self._sandbox.examine(data, most, options)

    def read_file(self, path: str | Path) -> NDArray[np.uint8]:
        """Decode the regular file at `path`, as `decode` does. Raises InputError also if the file cannot be read."""
        try:
            mode = Path(path).stat().st_mode  # checked first, since opening a pipe would wait for ever
            data = self._read(Path(path)) if stat.S_ISREG(mode) else None
        except FileNotFoundError:
            raise InputError("There is no file of that name: check how it is written.") from None
        except (OSError, ValueError):
            raise InputError("The file cannot be read: check its name and permissions.") from None
        if data is None:
            raise InputError("That is a folder or a device, not a file: name a picture.")
        return self.decode(data)

    def _read(self, path: Path) -> bytes:
        with path.open("rb") as file:
            return file.read(self.limits.max_bytes + 1)

    def fetch(self, url: str) -> bytes:
        """Return the bytes at a link. Raises InputError as `imgcap.images.links.fetch` does."""
        return links.fetch(url, self.limits)

    def load(self, source: str) -> NDArray[np.uint8]:
        """Decode the image at `source`, which is a link or the path of a file.

        A source without a scheme is a path if such a file exists, and otherwise a link if it has the form of one
        (example.org/photo.jpg). A thread with a running event loop must call
        `decode(await links.fetch_async(url, limits))` instead.
        """
        if links.is_link(source):
            return self.decode(self.fetch(source))
        host, slash, _ = source.partition("/")
        if not (slash and "." in host.strip(".")) or Path(host).exists():
            return self.read_file(source)
        try:
            return self.decode(self.fetch(source))
        except InputError:
            raise InputError(
                "There is no file of that name, and no picture at it as a link: check how it is written."
            ) from None
