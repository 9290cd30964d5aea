"""TIFF files as cameras, scanners and laboratories write them, made by tifffile."""

import io
import struct
from typing import Any

import numpy as np
import pytest
import tifffile
from hostile import tiff
from PIL import Image

from imgcap.errors import InputError
from imgcap.images.limits import ImageLimits
from imgcap.images.loading import ImageLoader

images = ImageLoader(ImageLimits())

HEIGHT, WIDTH = 48, 80
ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH]
PIXELS = np.stack([COLUMNS * 3, ROWS * 5, 255 - COLUMNS * 2 - ROWS], axis=2).astype(np.uint8)
WHITE = {"uint8": 255, "uint16": 65535, "float16": 1, "float32": 1, "float64": 1, "int16": 32767, "int8": 127}


def write(*pages: np.ndarray, subifds: list[np.ndarray] | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, byteorder=options.pop("byteorder", "<"), bigtiff=options.pop("big", False)) as out:
        for index, page in enumerate(pages):
            reduced = options.pop("reduced", 0) if index == 0 else 0
            below = {"subifds": len(subifds)} if subifds and index == 0 else {}
            out.write(page, photometric="rgb", subfiletype=reduced, metadata=None, **below, **options)
            for each in subifds or [] if index == 0 else []:
                out.write(each, photometric="cfa", subfiletype=0, metadata=None, extratags=CFA)
    return buffer.getvalue()


CFA = [(33421, "H", 2, (2, 2), True), (33422, "B", 4, (0, 1, 1, 2), True)]


def deep(dtype: str, colours: int) -> np.ndarray:
    """Return the image's channels in `dtype`; a fourth channel is opaque."""
    channels = np.concatenate([PIXELS, np.full((HEIGHT, WIDTH, 1), 255, np.uint8)], axis=2)[..., :colours]
    return (channels / 255 * WHITE[dtype]).astype(dtype)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(("colours", "planes"), [(1, "contig"), (3, "contig"), (3, "separate"), (4, "separate")])
@pytest.mark.parametrize("dtype", WHITE)
def test_samples_of_every_type_keep_their_colours(dtype, colours, planes, compression, byteorder):
    samples = deep(dtype, colours)
    options: dict[str, Any] = {"photometric": "rgb", "planarconfig": planes}
    if colours == 1:
        samples, options = samples[..., 0], {"photometric": "minisblack"}
    elif planes == "separate":
        samples = np.moveaxis(samples, 2, 0)
    if colours == 4:
        options["extrasamples"] = ["unassalpha"]
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, compression=compression, byteorder=byteorder, metadata=None, **options)
    expected = PIXELS if colours > 1 else PIXELS[..., :1].repeat(3, axis=2)
    difference = np.abs(images.decode(buffer.getvalue()).astype(int) - expected)
    assert difference.max() <= (2 if dtype == "int8" else 1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_grey_where_zero_is_white(dtype):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, deep(dtype, 1)[..., 0], photometric="miniswhite", metadata=None)
    assert np.abs(images.decode(buffer.getvalue())[..., 0].astype(int) - (255 - PIXELS[..., 0])).max() <= 1


def test_clear_parts_of_a_deep_picture_are_white():
    for kind in ("unassalpha", "assocalpha"):
        samples = deep("float32", 4)
        samples[:, :40, 3] = 0
        if kind == "assocalpha":
            samples[..., :3] *= samples[..., 3:]
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, samples, photometric="rgb", extrasamples=[kind], metadata=None)
        decoded = images.decode(buffer.getvalue())
        assert decoded[:, :40].min() == 255
        assert np.abs(decoded[:, 40:].astype(int) - PIXELS[:, 40:]).max() <= 1


def test_a_few_values_above_white_do_not_darken_a_picture():
    samples = deep("float32", 3)
    samples[0, 0], samples[0, 1] = 1.3, -0.2
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, photometric="rgb", metadata=None)
    assert np.abs(images.decode(buffer.getvalue())[1:].astype(int) - PIXELS[1:]).max() <= 1


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_deep_picture_comes_out_upright(orientation):
    turned = {3: np.rot90(deep("float32", 3), 2), 6: np.rot90(deep("float32", 3))}[orientation]
    buffer = io.BytesIO()
    tag = (274, "H", 1, orientation, True)
    tifffile.imwrite(buffer, turned, photometric="rgb", metadata=None, extratags=[tag])
    assert np.abs(images.decode(buffer.getvalue()).astype(int) - PIXELS).max() <= 1


@pytest.mark.parametrize(("byteorder", "big"), [("<", False), (">", False), ("<", True)])
def test_the_first_page_that_is_no_reduced_copy_is_taken(byteorder, big):
    data = write(PIXELS[::2, ::2].copy(), PIXELS, PIXELS[::-1].copy(), reduced=1, byteorder=byteorder, big=big)
    assert np.abs(images.decode(data).astype(int) - PIXELS).max() == 0
    floats = write(*(deep("float32", 3)[::step, ::step].copy() for step in (2, 1)), reduced=1)
    assert np.abs(images.decode(floats).astype(int) - PIXELS).max() <= 1


def test_a_big_endian_bigtiff_is_not_called_damaged():
    with pytest.raises(InputError, match="This TIFF is stored in a way that is not supported"):
        images.decode(write(PIXELS, byteorder=">", big=True))


def test_a_file_of_nothing_but_a_reduced_copy_is_refused():
    with pytest.raises(InputError, match="shows only a reduced copy"):
        images.decode(write(PIXELS, reduced=1))


def test_a_thumbnail_before_a_sensors_values_is_camera_raw():
    """As NEF and ARW files are made."""
    sensor = np.zeros((480, 640), np.uint16)
    with pytest.raises(InputError, match="Camera RAW files are not supported: export the photo as a JPEG"):
        images.decode(write(PIXELS, subifds=[sensor], reduced=1))


@pytest.mark.parametrize("reduced", [0, 1])
def test_a_digital_negative_is_camera_raw(reduced):
    buffer = io.BytesIO()
    version = (50706, "B", 4, (1, 4, 0, 0), True)
    tifffile.imwrite(buffer, PIXELS, photometric="rgb", subfiletype=reduced, metadata=None, extratags=[version])
    with pytest.raises(InputError, match="Camera RAW files"):
        images.decode(buffer.getvalue())


def test_a_canon_file_is_camera_raw():
    plain = write(PIXELS)
    first = struct.unpack("<I", plain[4:8])[0]
    assert first >= 8
    moved = plain[:4] + struct.pack("<I", len(plain)) + b"CR\2\0" + plain[12:] + plain[first:]
    with pytest.raises(InputError, match="Camera RAW files"):
        images.decode(moved)


@pytest.mark.parametrize("compression", [34713, 32767, 65535])
def test_the_cameras_own_compressions_are_camera_raw(compression):
    tags = [(256, 4, 1, 100), (257, 4, 1, 100), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1)]
    with pytest.raises(InputError, match="Camera RAW files"):
        images.decode(tiff(tags))


@pytest.mark.parametrize(("tag", "value"), [(262, 32845), (258, 3), (259, 34712)])
def test_what_is_stored_in_an_unusual_way_is_not_called_damaged(tag, value):
    tags = {256: 100, 257: 100, 258: 8, 259: 1, 262: 1, 273: 200, 277: 1, 278: 100, 279: 10_000} | {tag: value}
    data = tiff([(key, 3, 1, number) for key, number in tags.items()], bytes(20_000))
    with pytest.raises(InputError, match="This TIFF is stored in a way that is not supported"):
        images.decode(data)


def test_a_compression_without_a_decoder_is_not_called_damaged():
    with Image.open(io.BytesIO(write(PIXELS))) as picture:
        buffer = io.BytesIO()
        picture.convert("F").convert("L").save(buffer, "TIFF", compression="tiff_lzw")
    data = bytearray(buffer.getvalue())
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = file.pages[0].tags
        where = (tags["BitsPerSample"].valueoffset, tags["PhotometricInterpretation"].valueoffset)
    data[where[0] : where[0] + 2], data[where[1] : where[1] + 2] = b"\x10\0", b"\0\0"  # 16 bits, zero is white
    with pytest.raises(InputError, match="This TIFF is stored in a way that is not supported"):
        images.decode(bytes(data))


def test_a_directory_that_names_itself_as_the_next_ends():
    data = bytearray(tiff([(256, 3, 1, 100), (257, 3, 1, 100), (254, 4, 1, 1)]))
    data[-4:] = struct.pack("<I", 8)
    with pytest.raises(InputError, match="shows only a reduced copy"):
        images.decode(bytes(data))
