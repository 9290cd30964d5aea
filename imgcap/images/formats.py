"""The image formats that are decoded, and the sentence for each one that is refused."""

import struct

RAW_ADVICE = "Camera RAW files are not supported: export the photo as a JPEG."
EXHAUSTED = "The picture takes too much work to open: save it again as a plain JPEG or PNG."
DAMAGED = "The picture is damaged or cut short: save it again, or send another copy."

KINDS = "JPEG, PNG, WebP, GIF, HEIC, AVIF, TIFF or BMP"
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "HEIF", "AVIF", "TIFF", "BMP")
"""The formats that are decoded, by Pillow's names."""

UNSUPPORTED = {
    b"%PDF": "PDF",
    b"8BPS": "Photoshop",
    b"\x00\x00\x00\x0cjP": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\x00\x00\x00\x0cJXL": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x01\x00": "Icon",
    b"%!PS": "PostScript",
    b"\x1a\x45\xdf\xa3": "Video",
    b"<svg": "SVG",
    # Camera RAW in its own containers; `imgcap.images.tiff` finds the RAW kinds that are TIFF files.
    b"FUJIFILMCCD-RAW": "Camera RAW",  # RAF
    b"IIRO": "Camera RAW",  # ORF
    b"IIRS": "Camera RAW",
    b"MMOR": "Camera RAW",
    b"IIU\x00": "Camera RAW",  # RW2
    b"\x00MRM": "Camera RAW",
    b"FOVb": "Camera RAW",  # X3F
    b"II\x1a\x00\x00\x00HEAPCCDR": "Camera RAW",  # CRW
}
"""First bytes -> name. CR3 and videos share a container, whose brand distinguishes them."""

# Start-of-frame markers of JPEG processes that libjpeg-turbo does not decode: lossless, hierarchical (T.81, table B.1).
UNSUPPORTED_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF}


def unsupported(kind: str) -> str:
    """Return the sentence for a file of a kind that is not decoded here."""
    return RAW_ADVICE if kind == "Camera RAW" else f"{kind} files are not supported: send a {KINDS}."


def unsupported_variant(kind: str) -> str:
    """Return the sentence for a file of a supported kind that is stored in an unusual way."""
    return f"This {kind} is stored in a way that is not supported: export the picture as an ordinary JPEG or PNG."


def refusal(data: bytes) -> str:
    """Return the sentence for `data`, a file in none of the `FORMATS`."""
    start = data[:256].lstrip()
    kind = next((kind for magic, kind in UNSUPPORTED.items() if start.startswith(magic)), None)
    if kind is None and b"<svg" in data[:1024].lower():
        kind = "SVG"
    if kind is None and data[4:8] == b"ftyp":
        kind = "Camera RAW" if data[8:12] == b"crx " else "Video"
    return unsupported(kind) if kind else f"This is not a picture of a known kind: send a {KINDS}."


def is_unusual_jpeg(data: bytes) -> bool:
    """Return whether `data` is a JPEG of a precision other than 8 bits, or of a process that is not decoded."""
    place = 2
    while place + 5 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], struct.unpack_from(">H", data, place + 2)[0]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return marker in UNSUPPORTED_FRAMES or data[place + 4] != 8
        place += 2 + length
    return False
