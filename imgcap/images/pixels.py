"""Decode untrusted bytes into upright sRGB pixels, with Pillow.

Hostile files can make any decoder work for hours or take all memory (a megabyte of progressive JPEG scans does), so
this module runs only in the child processes of `imgcap.images.sandbox`. Other code calls `imgcap.images.loading`.
"""

import contextlib
import io
import json
import random
import warnings
from typing import Any, BinaryIO

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageChops, ImageCms, PngImagePlugin, UnidentifiedImageError

from imgcap.errors import InputError
from imgcap.images import child, tiff
from imgcap.images.formats import DAMAGED, FORMATS, is_unusual_jpeg, refusal, unsupported_variant

MIN_SIDE = 32
"""Pixels of the shorter side below which an image is refused.

People can still name the scene in 32 x 32 pixels (Torralba, Fergus and Freeman, "80 million tiny images", PAMI 2008),
but not in fewer.
"""
MAX_SIDE = 65_535
"""Pixels of the longer side above which an image is refused: the most that a JPEG can have."""
ENOUGH_PIXELS, ENOUGH_SIDE, MOST_PIXELS = 2**20, 512, 2**24
"""Pixels and shorter side that a shrunk image keeps at least, and the pixels above which it is shrunk regardless."""
DRAFT_SIDE = 750
"""Pixels that the shorter side keeps when a JPEG is decoded at a reduced size: twice the blur check's working size."""
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
END_MARKER = b"\xff\xd9"
FILLER = random.Random(0).randbytes(256).replace(b"\xff", b"") + END_MARKER  # noqa: S311 - any coded data will do
GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")
SRGB = ImageCms.createProfile("sRGB")

pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
warnings.simplefilter("ignore")
warnings.simplefilter("error", Image.DecompressionBombWarning)
PngImagePlugin.MAX_TEXT_CHUNK = 8 * 2**20  # Pillow's 1 MiB refuses real files with long XMP or large ICC profiles


def to_rgb(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """Return the first image in `data`, upright, opaque, in sRGB and large enough to work with.

    Args:
        data: a whole file; its content must be in one of the `FORMATS`.
        max_pixels: width x height above which nothing is decoded.

    Returns:
        (H, W, 3) uint8 RGB. Transparent parts are white, and no metadata is left. A large image is shrunk by
        `reduction`.

    Raises:
        InputError: the file is not an image, of an unsupported kind, too small, too large, or damaged.
        MemoryError: decoding takes more memory than the process may have.
    """
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with _open(data, max_pixels) as image:
            _check_size(image, max_pixels)
            _shrink_while_decoding(image)
            whole = _load(image, data)
            _check_size(whole, max_pixels)  # a HEIF's true size shows only when it is decoded
            upright = UPRIGHT.get(_orientation(whole))
            rgb = _to_srgb(whole)
    except (InputError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(
            f"The picture has more than {max_pixels / 1e6:.3g} million pixels: send a smaller copy."
        ) from None
    except Exception as error:  # noqa: BLE001 - decoders answer damaged bytes with every kind of exception
        raise InputError(_explain(error, data)) from None
    rgb = rgb.reduce(reduction(*rgb.size))
    return np.array(rgb.transpose(upright) if upright is not None else rgb)


def reduction(width: int, height: int) -> int:
    """Return the whole number by which both sides of an image are divided; each pixel is the mean of a square.

    It is a power of two, as in the blur check's own shrinking, so that the blur check gives the same numbers as at full
    size. At least about a megapixel and 512 pixels of the shorter side are left, more than any part of the app uses.
    """
    factor = 1
    while (
        width * height > MOST_PIXELS * factor**2
        or (width * height >= ENOUGH_PIXELS * (2 * factor) ** 2 and min(width, height) >= ENOUGH_SIDE * 2 * factor)
    ):  # fmt: skip
        factor *= 2
    return factor


def _open(data: bytes, max_pixels: int) -> Image.Image:
    if data.startswith(tiff.MAGICS):
        return tiff.open_page(data, max_pixels)
    return Image.open(io.BytesIO(data), formats=FORMATS)


def _check_size(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise Image.DecompressionBombError
    if max(image.size) > MAX_SIDE:
        raise InputError(f"A side of the picture is longer than {MAX_SIDE:,} pixels: send a part of it.")
    if min(image.size) < MIN_SIDE:
        raise InputError(f"The picture is too small: send one of at least {MIN_SIDE} x {MIN_SIDE} pixels.")


def _shrink_while_decoding(image: Image.Image) -> None:
    """Make libjpeg decode a large JPEG at a reduced size, which takes a fraction of the time and memory.

    libjpeg averages in the frequency domain, so the blur check's numbers change a little; the result is at least twice
    as large as the check's working size. libjpeg divides by 8 at most, and `reduction` does the rest.
    """
    if image.format in ("JPEG", "MPO"):
        factor = reduction(*image.size)
        while factor > 1 and min(image.size) < DRAFT_SIDE * factor:
            factor //= 2
        image.draft(None, (image.width // factor, image.height // factor))


def _load(image: Image.Image, data: bytes) -> Image.Image:
    """Decode `image`, even if it is a JPEG that lacks only its end marker.

    Decoding it with two different endings shows whether more than the marker is missing: foreign coded data changes
    an image only where its own data is missing.
    """
    try:
        image.load()
    except OSError:
        if image.format not in ("JPEG", "MPO"):
            raise
        coded = data.rstrip(b"\xff")  # half a marker would combine with the next byte into another marker
        whole, other = (Image.open(io.BytesIO(coded + ending), formats=["JPEG"]) for ending in (END_MARKER, FILLER))
        if ImageChops.difference(whole.convert("RGB"), other.convert("RGB")).getbbox() is not None:
            raise
        return whole
    return image


def _explain(error: Exception, data: bytes) -> str:
    """Return the sentence for `data`, for which a decoder raised `error`."""
    Image.init()  # opening a JPEG registers the usual formats alone
    known = [name for name in FORMATS if (accept := Image.OPEN[name][1]) and accept(data[:16])]
    if isinstance(error, UnidentifiedImageError) and not known:
        return refusal(data)
    if known == ["JPEG"] and is_unusual_jpeg(data):
        return unsupported_variant("JPEG")
    if known == ["HEIF"] and "nsupported" in str(error):  # libheif: "Unsupported feature: ..."
        return unsupported_variant("HEIC")
    if "MAX_TEXT" in str(error):  # Pillow's limits of what a PNG's texts may hold
        return "The picture's metadata is too large: save the picture again without it."
    return DAMAGED


def _orientation(image: Image.Image) -> int:
    """Return the EXIF (or XMP) orientation 1-8 still to be applied; 1 if the metadata cannot be read."""
    with contextlib.suppress(Exception):  # an image with broken metadata must still be decoded
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    return 1


def _to_srgb(image: Image.Image) -> Image.Image:
    profile, grey = _profile(image), image.mode in GREY
    image = _opaque(_eight_bits(image))
    mode = _mode_of(profile, image.mode, grey) if profile else None
    if profile and mode:
        with contextlib.suppress(ImageCms.PyCMSError):  # on failure, colours stay as they would without management
            converted = ImageCms.profileToProfile(image.convert(mode), profile, SRGB, outputMode="RGB")
            return converted or image.convert("RGB")
    return image.convert("RGB")


def _mode_of(profile: ImageCms.ImageCmsProfile, mode: str, grey: bool) -> str | None:
    """Return the mode in which `profile` reads an image of `mode`; None if the two do not fit together."""
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
    """Return the embedded ICC profile; None if the image has none to apply, or it cannot be read."""
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
    """Return `image` on a white ground if it has transparency."""
    if not image.has_transparency_data:
        return image
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return deep grey scaled to 0-255, by its depth if that is stated."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    if values.dtype == np.uint16:
        depth = getattr(image, "tag_v2", {}).get(tiff.BITS, (16,))[0]
        values = values << (16 - depth)
    return Image.fromarray(tiff.eight_bits(values))


def answer(answers: BinaryIO, data: bytes, request: dict[str, Any]) -> None:
    """Write a line of JSON with the decoded image's size, then its pixels."""
    write(answers, to_rgb(data, request["max_pixels"]))


def write(answers: BinaryIO, pixels: NDArray[np.uint8], **found: object) -> None:
    """Write a line of JSON with the size of pixels (H, W, 3) and what else was found, then the pixels."""
    size = {"height": pixels.shape[0], "width": pixels.shape[1]}
    answers.write(json.dumps(size | found).encode() + b"\n")
    answers.write(pixels.data)


if __name__ == "__main__":
    child.run(answer)
