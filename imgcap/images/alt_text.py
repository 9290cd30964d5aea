"""Write a caption into an image file's metadata as its alternative text, without changing its pixels.

The text is written as IPTC's "Alt Text (Accessibility)" (`Iptc4xmpCore:AltTextAccessibility`, a language alternative in
XMP), which is meant for screen readers, and as the Caption/Abstract (2:120) of IPTC-IIM, which older programs show.

Exiv2 writes it. That library parses untrusted files in C++, so it runs in a child process (`imgcap.images.sandbox`).
Its licence is the GPL, so it is not part of this program but an optional package (`imgcap[alt-text]`), which only the
child imports.
"""

import importlib.util
import json
from dataclasses import dataclass
from typing import IO, Any, BinaryIO
from unicodedata import category

from imgcap.errors import InputError
from imgcap.images import child
from imgcap.images.sandbox import Sandbox

MISSING = "This server cannot write alternative texts: its operator has to install imgcap[alt-text]."
UNWRITABLE = "A file of this kind cannot hold an alternative text: JPEG, PNG, WebP and TIFF can."
DAMAGED = "The file's metadata is damaged, so nothing was written into it."
ALT_TEXT = "Xmp.iptc.AltTextAccessibility"
CAPTION = "Iptc.Application2.Caption"
CHARSET, UTF8 = "Iptc.Envelope.CharacterSet", "\x1b%G"
CAPTION_BYTES = 2000
"""Maximum size of 2:120 in IPTC-IIM."""
MEMORY = 2**30
"""Bytes of the child's address space: Exiv2's library and a few copies of the largest file."""
WRITABLE = ("image/jpeg", "image/png", "image/webp", "image/tiff")


@dataclass(frozen=True)
class Described:
    """A copy of a file with its alternative text."""

    data: bytes
    written: bool
    """False if the file already had an alternative text, which was kept; `data` is then the unchanged file."""


class AltTextWriter:
    """Writes captions into copies of image files. Any thread may call."""

    def __init__(self) -> None:
        self._sandbox = Sandbox(children=1, module="imgcap.images.alt_text")

    @staticmethod
    def is_available() -> bool:
        """Return whether the optional package is installed."""
        return importlib.util.find_spec("exiv2") is not None

    def write(self, data: bytes, caption: str, *, overwrite: bool = False) -> Described:
        """Return a copy of an image file with a caption as its alternative text.

        Args:
            data: a whole JPEG, PNG, WebP or TIFF file. Only its metadata changes.
            caption: a sentence, not empty.
            overwrite: also replaces an alternative text and an IPTC caption that the file already has.

        Raises:
            InputError: the file is of another kind, its metadata is damaged, or the library is not installed.
        """
        if not self.is_available():
            raise InputError(MISSING)
        options = {"caption": one_line(caption), "overwrite": overwrite}
        return self._sandbox.ask(data, MEMORY, options, lambda answer, output: _read(answer, output, data))


def one_line(caption: str) -> str:
    """Return a caption without line breaks, control characters and other characters that XML cannot hold."""
    return " ".join("".join(filter(_is_writable, caption)).split())


def _is_writable(character: str) -> bool:
    # Exiv2 turns control characters into spaces; surrogates and the last two codes of each plane are not characters.
    return character.isspace() or (category(character) not in {"Cc", "Cs"} and ord(character) & 0xFFFE != 0xFFFE)


def _read(answer: dict[str, Any], output: IO[bytes], data: bytes) -> Described:
    if answer["bytes"] is None:
        return Described(data, written=False)
    written = output.read(answer["bytes"])
    if len(written) != answer["bytes"]:
        raise EOFError
    return Described(written, written=True)


# The code below runs in the child only.


def answer(answers: BinaryIO, data: bytes, request: dict[str, Any]) -> None:
    """Write a line of JSON with the size of the copy (null if the old text was kept), then the copy."""
    written = describe(data, request["caption"], request["overwrite"])
    answers.write(json.dumps({"bytes": None if written is None else len(written)}).encode() + b"\n")
    answers.write(written or b"")


def describe(data: bytes, caption: str, overwrite: bool) -> bytes | None:
    """Return the file with its alternative text; None if the file has one already that must be kept.

    Raises:
        InputError: a file of this kind cannot hold such a text, or its metadata is damaged.
    """
    import exiv2

    exiv2.LogMsg.setLevel(exiv2.LogMsg.Level.mute)
    try:
        image = exiv2.ImageFactory.open(data)
        if image.mimeType() not in WRITABLE:
            raise InputError(UNWRITABLE)
        image.readMetadata()
        if ALT_TEXT in image.xmpData() and not overwrite:
            return None
        image.xmpData()[ALT_TEXT] = exiv2.LangAltValue({"x-default": caption})
        _set_caption(image.iptcData(), caption, overwrite)
        image.writeMetadata()
        return bytes(image.io().data())
    except exiv2.Exiv2Error as error:
        raise InputError(DAMAGED) from error


def _set_caption(iptc: Any, caption: str, overwrite: bool) -> None:
    """Set Caption/Abstract, unless the file has one, or its other texts are in another character set."""
    if CAPTION in iptc and not overwrite:
        return
    if not caption.isascii():
        if iptc.detectCharset() not in {"ASCII", "UTF-8"}:
            return
        iptc[CHARSET] = UTF8
    iptc[CAPTION] = caption.encode()[:CAPTION_BYTES].decode(errors="ignore")


if __name__ == "__main__":
    child.run(answer)
