"""Untrusted bytes -> upright sRGB pixels, with Pillow.

Hostile files can make any decoder work for hours or take all memory (a megabyte of progressive JPEG scans does), so
this module runs only in the child processes of `imgcap.images.sandbox`. Everybody else calls
`imgcap.images.loading`.
"""

import contextlib
import io
import json
import os
import resource
import signal
import sys
import warnings
from typing import BinaryIO

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, PngImagePlugin, UnidentifiedImageError

from imgcap.errors import InputError

KINDS = "JPEG, PNG, WebP, GIF, HEIC, AVIF, TIFF or BMP"
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "HEIF", "AVIF", "TIFF", "BMP")
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
}
CROWDED = 12  # times longer that the clock may run than the processor: others use it, or threads lock each other out
DAMAGED = "The picture is damaged or cut short: save it again, or send another copy."
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")
BITS_PER_SAMPLE = 258  # TIFF tag
SRGB = ImageCms.createProfile("sRGB")

pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
warnings.simplefilter("ignore")
warnings.simplefilter("error", Image.DecompressionBombWarning)
PngImagePlugin.MAX_TEXT_CHUNK = 8 * 2**20  # Pillow's 1 MiB refuses real files with long XMP or large ICC profiles


def to_rgb(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """The first picture in `data`, upright, opaque and in sRGB.

    Args:
        data: a whole file of one of the `FORMATS`, told by its content.
        max_pixels: width x height above which nothing is decoded.

    Returns:
        (H, W, 3) uint8 RGB. Transparent parts are white; nothing of the file's metadata is left.

    Raises:
        InputError: not a picture, an unsupported kind, too many pixels, or damaged.
        MemoryError: it takes more memory than the process may have.
    """
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            image.load()
            if image.width * image.height > max_pixels:  # a HEIF's true size shows only when it is decoded
                raise Image.DecompressionBombError
            upright = UPRIGHT.get(_orientation(image))
            rgb = _to_srgb(image)
    except (InputError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise InputError(_unidentified(data)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(
            f"The picture has more than {max_pixels / 1e6:.3g} million pixels: send a smaller copy."
        ) from None
    except Exception:  # noqa: BLE001 - decoders answer damaged bytes with every kind of exception
        raise InputError(DAMAGED) from None
    return np.array(rgb.transpose(upright) if upright is not None else rgb)


def _unidentified(data: bytes) -> str:
    if any(accept and accept(data[:16]) for _, accept in (Image.OPEN[name] for name in FORMATS)):
        return DAMAGED
    start = data[:256].lstrip()
    kind = next((kind for magic, kind in UNSUPPORTED.items() if start.startswith(magic)), None)
    if kind is None and b"<svg" in data[:1024].lower():
        kind = "SVG"
    if kind is None and data[4:8] == b"ftyp":
        kind = "Video"
    return (
        f"{kind} files are not supported: send a {KINDS}."
        if kind
        else f"This is not a picture of a known kind: send a {KINDS}."
    )


def _orientation(image: Image.Image) -> int:
    """The EXIF (or XMP) orientation 1-8 still to be applied; 1 where the metadata cannot be read."""
    with contextlib.suppress(Exception):  # broken metadata must not cost a person the picture
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    return 1


def _to_srgb(image: Image.Image) -> Image.Image:
    profile, grey = _profile(image), image.mode in GREY
    image = _opaque(_eight_bits(image))
    mode = _mode_of(profile, image.mode, grey) if profile else None
    if profile and mode:
        with contextlib.suppress(ImageCms.PyCMSError):  # then as a viewer without colour management would show it
            converted = ImageCms.profileToProfile(image.convert(mode), profile, SRGB, outputMode="RGB")
            return converted or image.convert("RGB")
    return image.convert("RGB")


def _mode_of(profile: ImageCms.ImageCmsProfile, mode: str, grey: bool) -> str | None:
    """The mode in which `profile` reads a picture of `mode`; None where the two do not fit together."""
    match profile.profile.xcolor_space.strip():
        case "RGB":
            return "RGB" if mode not in ("CMYK", "LAB") else None
        case "GRAY":
            return "L" if grey else None
        case "CMYK":
            return "CMYK" if mode == "CMYK" else None
        case "Lab":
            return "LAB" if mode == "LAB" else None
    return None


def _profile(image: Image.Image) -> ImageCms.ImageCmsProfile | None:
    """The embedded ICC profile; None where there is none to apply, or it cannot be read."""
    if image.mode == "LAB":
        return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    icc = image.info.get("icc_profile")
    if not icc:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    except OSError:
        return None
    return None if (profile.profile.profile_description or "").startswith("sRGB") else profile


def _opaque(image: Image.Image) -> Image.Image:
    """`image` laid on white where it has transparency."""
    if not image.has_transparency_data:
        return image
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Deep grey brought to 0-255: by its depth where that is stated, by its range where it is not (I and F)."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    if values.dtype == np.uint16:
        depth = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))[0]
        return Image.fromarray((values >> (depth - 8)).astype(np.uint8))
    values = np.nan_to_num(values.astype(np.float32), nan=0, posinf=0, neginf=0)
    low, high = min(float(values.min()), 0), float(values.max())
    # The customary ranges (0-1, bytes, 16 bits) are kept, or a dark picture would come out bright.
    top = next((limit for limit in (1, 255, 65535) if low == 0 and high <= limit), high)
    return Image.fromarray(((values - low) * (255 / (top - low))).astype(np.uint8))


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer `imgcap.images.sandbox` until it closes `requests`. Each picture has its own limits of time and memory."""
    answers.write(b"ready\n")
    answers.flush()
    while line := requests.readline():
        request = json.loads(line)
        data = requests.read(request["bytes"])
        resource.setrlimit(resource.RLIMIT_AS, (request["memory"], resource.RLIM_INFINITY))
        # Left at their default action both signals end the process, also in the middle of a decoder's C code.
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        signal.setitimer(signal.ITIMER_REAL, CROWDED * request["seconds"])
        answer(answers, data, request["max_pixels"])
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def answer(answers: BinaryIO, data: bytes, max_pixels: int) -> None:
    """Write what becomes of `data`: a line of JSON, and the pixels."""
    try:
        pixels = to_rgb(data, max_pixels)
        answers.write(json.dumps({"height": pixels.shape[0], "width": pixels.shape[1]}).encode() + b"\n")
        answers.write(pixels.data)
    except InputError as error:
        answers.write(json.dumps({"error": str(error)}).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    wire = os.fdopen(os.dup(1), "wb")
    silence = os.open(os.devnull, os.O_WRONLY)  # what a library prints is no answer, and no news
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    serve(sys.stdin.buffer, wire)
