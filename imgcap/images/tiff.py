"""Open the page of a TIFF file that should be shown, in a mode that Pillow understands.

TIFF is the container of most camera RAW files, whose first page is a thumbnail, and of scientific images, whose sample
types Pillow 12.3 reads wrongly (uncompressed 16-bit planes, signed and 32-bit integers, big-endian compressed floats,
inverted 16-bit grey) or not at all. tifffile reads those, and Pillow reads all others.
"""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from imgcap.errors import InputError
from imgcap.images.formats import DAMAGED, RAW_ADVICE, unsupported_variant

MAGICS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
PAGES = 16
"""Number of pages that are searched for one that is not a reduced copy."""
REDUCED = "The file shows only a reduced copy of its picture: export the picture as a JPEG or PNG."
UNSUPPORTED = unsupported_variant("TIFF")

# Tags (TIFF 6.0; DNG 1.7; TIFF/EP)
NEW_SUBFILE_TYPE, SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 255, 256, 257, 258, 259, 262
SAMPLES, PLANAR, SUB_IFDS, SAMPLE_FORMAT, ICC_PROFILE = 277, 284, 330, 339, 34675
ORIENTATION, DNG_VERSION = 274, 50706
COLOUR_FILTER_ARRAY, LINEAR_RAW = 32803, 34892  # values of PHOTOMETRIC
RAW_COMPRESSIONS = (32767, 34713, 65535)  # Sony, Nikon, Pentax
MIN_IS_WHITE, RGB = 0, 2  # values of PHOTOMETRIC
UNSIGNED, SIGNED, FLOAT = 1, 2, 3  # values of SAMPLE_FORMAT
ASSOCIATED, UNASSOCIATED = 1, 2  # values of ExtraSamples


def open_page(data: bytes, max_pixels: int) -> Image.Image:
    """Return the first page of `data` that is not a reduced copy, opened by Pillow or decoded by tifffile.

    Args:
        data: a file that begins with one of `MAGICS`.
        max_pixels: width x height above which nothing is decoded.

    Raises:
        InputError: the file is camera RAW, holds only reduced copies, or is stored in a way that neither library reads.
        Image.DecompressionBombError: the page has too many pixels.
    """
    if data.startswith(b"MM\x00+"):  # a big-endian BigTIFF, which Pillow's reader of tags takes for a TIFF
        raise InputError(UNSUPPORTED)
    pages = []
    for page in _directories(data):
        if _is_raw(data, page):
            raise InputError(RAW_ADVICE)
        pages.append(page)
        if not _is_reduced(page):
            break
    if not pages or not {WIDTH, HEIGHT} <= pages[-1].keys():
        raise InputError(DAMAGED)
    if _is_reduced(pages[-1]):
        raise InputError(REDUCED)
    index, page = len(pages) - 1, pages[-1]
    if _number(page, WIDTH) * _number(page, HEIGHT) > max_pixels:
        raise Image.DecompressionBombError
    if _needs_tifffile(page):
        return _decode(data, index)
    try:
        image = Image.open(io.BytesIO(data), formats=["TIFF"])
    except UnidentifiedImageError:
        raise InputError(UNSUPPORTED) from None
    image.seek(index)
    return image


def eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return deep samples scaled to 0-255, in an array of the same shape.

    Integers of at most 16 bits are scaled by their depth, and floats of which 99% lie in 0-1 by that range. Other
    samples have no stated white, so the first customary range that holds them (0-1, 0-255, 0-65535) is taken, because
    scaling by their own range would make a dark image bright; only if none fits is their own range taken. Values that
    are not finite become black.
    """
    if values.dtype == np.uint16:
        return (values >> 8).astype(np.uint8)
    tops: tuple[float, ...] = (1.0, 255.0, 65535.0)
    if values.dtype.kind in "iu" and values.dtype.itemsize <= 2:
        tops = (float(np.iinfo(values.dtype).max),)
    unit = values.dtype.kind == "f" and float(np.mean((values >= 0) & (values <= 1))) >= 0.99
    values = np.nan_to_num(values.astype(np.float32), nan=0, posinf=0, neginf=0)
    if unit:
        return (values.clip(0, 1) * 255).astype(np.uint8)
    low, high = min(float(values.min()), 0.0), float(values.max())
    top = next((limit for limit in tops if low == 0 and high <= limit), high)
    return ((values - low) * (255 / max(top - low, 1e-30))).astype(np.uint8)


def _directories(data: bytes) -> Iterator[ImageFileDirectory_v2]:
    """Yield the tags of each page, in order."""
    header = data[: 16 if data[2] == 43 else 8]
    file, offset, seen = io.BytesIO(data), ImageFileDirectory_v2(header).next, set[int]()
    while offset and offset not in seen and len(seen) < PAGES:
        seen.add(offset)
        page = _directory(header, file, offset)
        yield page
        offset = page.next


def _directory(header: bytes, file: io.BytesIO, offset: int) -> ImageFileDirectory_v2:
    page = ImageFileDirectory_v2(header)
    file.seek(offset)
    page.load(file)
    return page


def _number(page: ImageFileDirectory_v2, tag: int, default: int = 0) -> int:
    """Return the value of a tag, or the largest if it has several."""
    value = page.get(tag, default)
    return int(max(value) if isinstance(value, tuple) else value)


def _is_reduced(page: ImageFileDirectory_v2) -> bool:
    return bool(_number(page, NEW_SUBFILE_TYPE) & 1) or _number(page, SUBFILE_TYPE) == 2


def _is_raw(data: bytes, page: ImageFileDirectory_v2) -> bool:
    """Return whether the page, or one that it leads to, holds a camera sensor's values."""
    if data[8:10] == b"CR" or DNG_VERSION in page:
        return True
    offsets = page.get(SUB_IFDS, ())
    header = data[: 16 if data[2] == 43 else 8]
    offsets = offsets if isinstance(offsets, tuple) else (offsets,)
    below = [_directory(header, io.BytesIO(data), int(offset)) for offset in offsets[:PAGES]]
    return any(
        _number(each, PHOTOMETRIC) in (COLOUR_FILTER_ARRAY, LINEAR_RAW)
        or _number(each, COMPRESSION) in RAW_COMPRESSIONS
        for each in (page, *below)
    )


def _needs_tifffile(page: ImageFileDirectory_v2) -> bool:
    """Return whether Pillow would read the page's samples wrongly."""
    bits, samples = _number(page, BITS, 1), _number(page, SAMPLES, 1)
    compressed = _number(page, COMPRESSION, 1) != 1
    if _number(page, SAMPLE_FORMAT, UNSIGNED) == FLOAT:
        inverted = _number(page, PHOTOMETRIC) == MIN_IS_WHITE
        return bits != 32 or samples > 1 or inverted or (compressed and page.prefix == b"MM")
    if _number(page, SAMPLE_FORMAT, UNSIGNED) == SIGNED or bits > 16:
        return True
    planes = samples > 1 and _number(page, PLANAR, 1) == 2 and not compressed
    return bits == 16 and (planes or _number(page, PHOTOMETRIC) == MIN_IS_WHITE)


def _decode(data: bytes, index: int) -> Image.Image:
    """Decode page `index` by tifffile into an 8-bit image with its profile and orientation."""
    import tifffile  # few images need it

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page: Any = file.pages[index]
        extra = [int(kind) for kind in page.extrasamples]
        colours = page.samplesperpixel - len(extra)
        if int(page.photometric) > RGB or colours not in (1, 3) or page.imagedepth != 1:
            raise InputError(UNSUPPORTED)
        try:
            values = page.asarray(maxworkers=1)
        except ValueError as error:  # LZW, JPEG and the like need the codecs of another package
            raise InputError(UNSUPPORTED if "imagecodecs" in str(error) else DAMAGED) from None
        values = values.reshape(-1, *values.shape[-2:]) if int(page.planarconfig) == 2 else values
        samples = np.moveaxis(values, 0, 2) if int(page.planarconfig) == 2 else np.atleast_3d(values)
        icc, orientation = page.tags.valueof(ICC_PROFILE), page.tags.valueof(ORIENTATION, 1)
        inverted = int(page.photometric) == MIN_IS_WHITE
    picture = eight_bits(samples[..., :colours])
    mode = "L" if colours == 1 else "RGB"
    if extra and extra[0] in (ASSOCIATED, UNASSOCIATED):
        picture = np.concatenate([picture, eight_bits(samples[..., colours : colours + 1])], axis=2)
        mode += "a" if extra[0] == ASSOCIATED else "A"
    elif inverted:
        picture = 255 - picture
    image = Image.frombytes(mode, picture.shape[1::-1], picture.tobytes())
    if mode.endswith("a"):
        image = image.convert(mode.upper())
    image.getexif()[ORIENTATION] = int(orientation)
    if isinstance(icc, bytes):
        image.info["icc_profile"] = icc
    return image
