"""Files made to harm a decoder, built by hand because no encoder would write them."""

import io
import struct
import zlib
from collections.abc import Iterable

from PIL import Image


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def scan_bomb(side: int = 7000, repeats: int = 3000) -> bytes:
    """A small progressive JPEG with many scans of a few bytes; each makes the decoder go over the whole image."""
    segments = list(_jpeg_segments(encode(Image.new("L", (side, side), 128), "JPEG", progressive=True)))
    scans = [index for index, segment in enumerate(segments) if segment[1] == 0xDA]
    repeated = b"".join(segments[scans[0] + 1 : scans[1] + 1])
    return b"".join(segments[: scans[1] + 1]) + repeated * repeats + b"\xff\xd9"


def _jpeg_segments(data: bytes) -> Iterable[bytes]:
    yield data[:2]
    start = 2
    while data[start + 1] != 0xD9:
        end = start + 2 + struct.unpack(">H", data[start + 2 : start + 4])[0]
        if data[start + 1] == 0xDA:
            while data[end] != 0xFF or data[end + 1] == 0:
                end += 1
        yield data[start:end]
        start = end


def tiff(tags: list[tuple[int, int, int, int]], rest: bytes = b"") -> bytes:
    """A little-endian TIFF of one directory of (tag, type, count, value or offset), then `rest`."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + rest


def tile_bomb(side: int) -> bytes:
    """A TIFF of 100 x 100 pixels whose one tile is `side` x `side`."""
    shape = [(256, 4, 1, 100), (257, 4, 1, 100), (258, 3, 1, 8), (259, 3, 1, 5), (262, 3, 1, 1), (277, 3, 1, 1)]
    return tiff([*shape, (322, 4, 1, side), (323, 4, 1, side), (324, 4, 1, 8), (325, 4, 1, 100)], b"x" * 1000)


def rational_bomb(count: int = 2_000_000) -> bytes:
    """A TIFF whose every tag is the same list of fractions, which Python would turn into objects one by one."""
    tags = [256, 257, 258, 259, 262, 266, 273, 277, 278, 282, 284]
    offset = 8 + 2 + 12 * len(tags) + 4
    wide = [(tag, 4, 1, 100) if tag in (256, 257) else (tag, 5, count, offset) for tag in tags]
    return tiff(wide, struct.pack("<II", 3, 7) * count)


def png_with(chunk: bytes, body: bytes, repeats: int = 1) -> bytes:
    """A PNG of 40 x 40 pixels with a given chunk before its pixels."""
    plain = encode(Image.new("L", (40, 40)), "PNG")
    extra = struct.pack(">I", len(body)) + chunk + body + struct.pack(">I", zlib.crc32(chunk + body))
    return plain[:33] + extra * repeats + plain[33:]


def bmp_header(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIIIII", 0, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
