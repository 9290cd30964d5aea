"""Unpack the bodies of HTTP answers (RFC 9110, 8.4.1) and data URLs into bytes, within a limit."""

import io
import urllib.request
import zlib
from collections.abc import Callable

import brotli
import zstandard

MOST_CODINGS = 3
GZIP_MAGIC = b"\x1f\x8b"
ZSTD_WINDOW = 2**23
"""Bytes of memory that a zstd body may demand: the limit of RFC 9659 for the web."""


def unpack(body: bytes, content_encoding: str, limit: int) -> bytes:
    """Return `body` unpacked according to its Content-Encoding, or unchanged if that does not apply.

    A gzip body is unpacked whatever the header says: servers send stored gzip files without it.

    Args:
        body: the body as received.
        content_encoding: the header, "" if it was missing.
        limit: bytes after which unpacking stops; the result is then one byte longer.
    """
    codings = [coding.strip().lower() for coding in content_encoding.split(",")][::-1]
    if body.startswith(GZIP_MAGIC) and not {"gzip", "x-gzip"} & {*codings}:
        codings.insert(0, "gzip")
    for coding in codings[:MOST_CODINGS]:
        decoder = DECODERS.get(coding)
        plain = decoder(body, limit + 1) if decoder and body else body
        if plain is None:
            return body
        if len(plain) > limit:
            return plain[: limit + 1]
        body = plain
    return body


def read_data_url(url: str) -> bytes:
    """Return the bytes in a data URL (RFC 2397). Raises ValueError if the URL holds none."""
    request = urllib.request.Request(url.strip())  # noqa: S310 - opened by a handler of data URLs alone
    with urllib.request.DataHandler().data_open(request) as content:
        return content.read()


def _inflate(*window_bits: int) -> Callable[[bytes, int], bytes | None]:
    def decode(body: bytes, limit: int) -> bytes | None:
        for bits in window_bits:
            unpacker = zlib.decompressobj(wbits=bits)
            try:
                plain = unpacker.decompress(body, limit)
            except zlib.error:
                continue
            if unpacker.eof or len(plain) >= limit:
                return plain
        return None

    return decode


def _brotli(body: bytes, limit: int) -> bytes | None:
    unpacker = brotli.Decompressor()
    try:
        plain = unpacker.process(body, output_buffer_limit=limit)
        while len(plain) < limit and not unpacker.is_finished():
            more = unpacker.process(b"", output_buffer_limit=limit - len(plain))
            if not more:
                return None  # the end is missing
            plain += more
    except brotli.error:
        return None
    return bytes(plain)


def _zstd(body: bytes, limit: int) -> bytes | None:
    unpacker = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
    try:
        return unpacker.stream_reader(io.BytesIO(body), read_across_frames=True).read(limit)
    except zstandard.ZstdError:
        return None


DECODERS: dict[str, Callable[[bytes, int], bytes | None]] = {
    "gzip": _inflate(31),
    "x-gzip": _inflate(31),
    "deflate": _inflate(15, -15),  # zlib's form, or the bare one that some servers send
    "br": _brotli,
    "zstd": _zstd,
}
"""Content coding -> a function that returns at most a number of bytes, or None if the body has another coding."""
