import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from hostile import bmp_header, encode, png_with
from PIL import ExifTags, Image, ImageCms

from imgcap.blur.sharpness import measure
from imgcap.errors import InputError
from imgcap.images.limits import ImageLimits
from imgcap.images.loading import ImageLoader

pillow_heif.register_heif_opener()
images = ImageLoader(ImageLimits())
SAMPLES = Path(__file__).parents[1] / "samples"
HEIGHT, WIDTH = 48, 80
ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH]
PIXELS = np.stack([COLUMNS * 3, ROWS * 5, 255 - COLUMNS * 2 - ROWS], axis=2).astype(np.uint8)  # no symmetry
PICTURE = Image.fromarray(PIXELS)
LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}, "BMP": {}}
LOSSY = {"JPEG": {"quality": 95}, "MPO": {"quality": 95}, "GIF": {}, "HEIF": {"quality": 95}, "AVIF": {"quality": 95}}
ROTATED_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def difference(left, right) -> float:
    assert left.shape == right.shape
    return float(np.abs(left.astype(int) - right.astype(int)).mean())


@pytest.mark.parametrize("kind", [*LOSSLESS, *LOSSY])
def test_every_kind_is_told_by_its_content(kind):
    decoded = images.decode(encode(PICTURE, kind, **(LOSSLESS | LOSSY)[kind]))
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    assert decoded.flags.writeable
    assert difference(decoded, PIXELS) <= (0 if kind in LOSSLESS else 6)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright_once(kind, orientation):
    stored = PICTURE.transpose(ROTATED_BACK[orientation]) if orientation > 1 else PICTURE
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    decoded = images.decode(encode(stored, kind, exif=exif.tobytes(), **(LOSSLESS | LOSSY)[kind]))
    assert difference(decoded, PIXELS) <= 4


@pytest.mark.parametrize("orientation", [0, 9, 60000])
def test_an_orientation_out_of_range_is_passed_over(orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    assert difference(images.decode(encode(PICTURE, "PNG", exif=exif.tobytes())), PIXELS) == 0


def test_unreadable_exif_costs_nobody_the_picture():
    assert difference(images.decode(encode(PICTURE, "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")), PIXELS) == 0


@pytest.mark.parametrize(
    ("mode", "kind"), [("1", "PNG"), ("L", "PNG"), ("P", "PNG"), ("CMYK", "TIFF"), ("LAB", "TIFF")]
)
def test_modes_become_rgb(mode, kind):
    if mode == "LAB":
        to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        converted = ImageCms.applyTransform(PICTURE, to_lab)
    else:
        converted = PICTURE.convert(mode)
    expected = PIXELS if mode == "LAB" else np.asarray(converted.convert("RGB"))
    assert difference(images.decode(encode(converted, kind)), expected) <= (2 if mode == "LAB" else 0)


def test_cmyk_jpeg_keeps_its_colours():
    assert difference(images.decode(encode(PICTURE.convert("CMYK"), "JPEG", quality=95)), PIXELS) < 6


@pytest.mark.parametrize(
    ("mode", "dtype", "white"),
    [("I;16", np.uint16, 65535), ("I", np.int32, 65535), ("F", np.float32, 1), ("F", np.float32, 255)],
)
def test_deep_grey_keeps_its_brightness(mode, dtype, white):
    grey = (COLUMNS / (WIDTH - 1) * 0.5 * white).astype(dtype)  # from black to half of white
    decoded = images.decode(
        encode(Image.fromarray(grey, mode=mode) if mode == "I;16" else Image.fromarray(grey), "TIFF")
    )
    assert difference(decoded[..., 0], COLUMNS / (WIDTH - 1) * 127.5) < 1.5


def test_floats_that_are_no_numbers_are_black():
    grey = np.full((40, 40), 0.5, np.float32)
    grey[0, :3] = np.nan, np.inf, -np.inf
    decoded = images.decode(encode(Image.fromarray(grey), "TIFF"))
    assert decoded[0, :3].max() == 0
    assert decoded[1:].min() == 127


def test_sixteen_bit_colour():
    deep = (PIXELS.astype(">u2") * 257).reshape(HEIGHT, -1)
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in deep))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    png = b"".join(struct.pack(">I", len(b)) + t + b + struct.pack(">I", zlib.crc32(t + b)) for t, b in chunks)
    assert difference(images.decode(b"\x89PNG\r\n\x1a\n" + png), PIXELS) == 0


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("LA", "PNG"), ("P", "PNG"), ("LA", "TIFF"), ("PA", "TIFF"), ("P", "WEBP"), ("LA", "HEIF"), ("LA", "AVIF")]
    + [("RGBA", kind) for kind in ("PNG", "WEBP", "TIFF", "GIF", "AVIF", "HEIF")],
)
def test_what_is_transparent_is_white(mode, kind):
    clear = PICTURE.convert("RGBA")
    clear.paste((200, 0, 0, 0), (0, 0, 40, HEIGHT))
    data = encode(clear.quantize(64) if mode == "P" else clear.convert(mode), kind)
    decoded = images.decode(data)
    assert decoded[:, :36].min() >= 250
    assert decoded[:, 44:].min() < 200


def profile_with_red_and_blue_exchanged() -> bytes:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    named = srgb.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))
    return named.replace(b"rXYZ", b"tmp!").replace(b"bXYZ", b"rXYZ").replace(b"tmp!", b"bXYZ")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_colours_are_converted_by_the_profile(kind):
    data = encode(Image.new("RGB", (40, 40), (255, 0, 0)), kind, icc_profile=profile_with_red_and_blue_exchanged())
    red, _, blue = images.decode(data).mean(axis=(0, 1))
    assert blue > 200 > 60 > red


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_grey_or_clear_picture_may_have_a_colour_profile(mode):
    data = encode(Image.new(mode, (40, 40), "white"), "PNG", icc_profile=profile_with_red_and_blue_exchanged())
    assert images.decode(data).min() >= 250


def test_an_unusable_profile_is_passed_over():
    for profile in (b"nonsense", profile_with_red_and_blue_exchanged()[:200], b"\0" * 4096):
        assert difference(images.decode(encode(PICTURE, "PNG", icc_profile=profile)), PIXELS) == 0


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
def test_of_several_pictures_the_first_is_taken(kind):
    others = [Image.new("RGB", PICTURE.size, "red")] * 2
    assert difference(images.decode(encode(PICTURE, kind, save_all=True, append_images=others)), PIXELS) < 8


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (31, 31), (31, 3000), (3000, 31)])
@pytest.mark.parametrize("kind", ["PNG", "BMP", "JPEG", "TIFF"])
def test_a_picture_too_small_to_show_anything_is_refused(size, kind):
    with pytest.raises(InputError, match="too small: send one of at least 32 x 32 pixels"):
        images.decode(encode(Image.new("RGB", size), kind))


def test_the_stated_least_size_is_accepted():
    assert images.decode(encode(Image.new("RGB", (32, 32)), "PNG")).shape == (32, 32, 3)


@pytest.mark.parametrize("size", [(65_536, 40), (40, 65_536), (1_000_000, 60), (1, 60_000_000)])
def test_a_side_that_no_jpeg_could_have_is_refused(size):
    with pytest.raises(InputError, match="longer than 65,535 pixels"):
        images.decode(encode(Image.new("1", size), "PNG"))
    assert images.decode(encode(Image.new("1", (65_535, 40)), "PNG")).shape == (40, 65_535, 3)


@pytest.mark.parametrize(
    ("size", "shape"),
    [((2047, 2047), (2047, 2047)), ((2048, 2048), (1024, 1024)), ((4032, 3024), (1512, 2016)),
     ((8000, 8000), (2000, 2000)), ((12_000, 1100), (550, 6000)), ((30_000, 900), (450, 15_000)),
     ((1001, 20_001), (10_001, 501)), ((16_000, 1000), (1000, 16_000))],
)  # fmt: skip
def test_large_pictures_are_shrunk_by_a_whole_number(size, shape):
    assert images.decode(encode(Image.new("L", size, 99), "PNG", compress_level=1)).shape == (*shape, 3)


def test_shrinking_takes_the_mean_of_each_square():
    big = np.random.default_rng(0).integers(0, 256, (2048, 2500, 3), dtype=np.uint8)
    means = big.reshape(1024, 2, 1250, 2, 3).mean(axis=(1, 3))
    assert np.abs(images.decode(encode(Image.fromarray(big), "PNG", compress_level=1)) - means).max() <= 1


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_shrinking_changes_no_verdict_on_sharpness(factor):
    """This holds near the threshold, too: the variance after decoding is within 1% of the full-size image's."""
    photo = Image.open(SAMPLES / "astronaut.jpg").convert("RGB").resize((1100 * factor, 1100 * factor))
    whole = np.asarray(photo)
    decoded = images.decode(encode(photo, "PNG", compress_level=1))
    assert decoded.shape[0] == whole.shape[0] // max(1, factor)
    assert measure(decoded, 59).variance == pytest.approx(measure(whole, 59).variance, rel=0.03)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"just words", "not a picture of a known kind"),
        (b"\0" * 100, "not a picture of a known kind"),
        (b"%PDF-1.7 ...", "PDF files are not supported"),
        (b"8BPS....", "Photoshop files are not supported"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG files are not supported"),
        (b"\0\0\0\x18ftypisom....", "Video files are not supported"),
        (b"\xff\x0a....", "JPEG XL files are not supported"),
        (encode(PICTURE, "ICO"), "Icon files are not supported"),
        (encode(PICTURE, "JPEG2000"), "JPEG 2000 files are not supported"),
        (encode(PICTURE, "PPM"), "not a picture of a known kind"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript files are not supported"),
        (b"\x89PNG\r\n\x1a\n", "damaged or cut short"),
        (b"\xff\xd8\xff", "damaged or cut short"),
        (b"FUJIFILMCCD-RAW 0201", "Camera RAW files are not supported: export"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "Camera RAW files are not supported: export"),
        (b"IIU\0\x18\0\0\0", "Camera RAW files are not supported: export"),
        (b"IIRO\x08\0\0\0", "Camera RAW files are not supported: export"),
        (bmp_header(60000, 60000), "more than 64 million pixels"),
        (bmp_header(2**31 - 1, -(2**31)), "more than 64 million pixels"),
        (encode(Image.new("1", (30000, 30000)), "PNG"), "more than 64 million pixels"),
        (png_with(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**28))), "metadata is too large"),
        (png_with(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**28))), "metadata is too large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals_are_one_sentence(data, words):
    with pytest.raises(InputError, match=words) as refusal:
        images.decode(data)
    assert str(refusal.value).endswith(".")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", [*LOSSLESS, *LOSSY])
def test_a_file_cut_short_is_refused(kind):
    whole = encode(PICTURE, kind)
    for part in (0.2, 0.5, 0.8):
        with pytest.raises(InputError):
            images.decode(whole[: int(len(whole) * part)])


JPEGS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "without subsampling": {"subsampling": 0},
    "restart markers": {"restart_marker_rows": 1},
    "grey": {},
}


def jpeg(kind: str) -> bytes:
    with Image.open(SAMPLES / "astronaut.jpg") as photo:
        return encode(photo.convert("L" if kind == "grey" else "RGB"), "JPEG", **JPEGS[kind])


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("ending", [b"", b"\xff", b"\0" * 500])
def test_a_jpeg_without_its_end_marker_is_whole(kind, ending):
    whole = jpeg(kind)
    assert whole.endswith(b"\xff\xd9")
    assert difference(images.decode(whole[:-2] + ending), images.decode(whole)) == 0


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("missing", [6, 10, 30, 300, 3000])
def test_a_jpeg_without_its_last_pixels_is_damaged(kind, missing):
    with pytest.raises(InputError, match="damaged or cut short"):
        images.decode(jpeg(kind)[:-missing])


@pytest.mark.parametrize(("kind", "lacking"), [("GIF", 1), ("PNG", 12)])
def test_other_kinds_may_lack_their_end_marker_too(kind, lacking):
    whole = encode(PICTURE, kind)
    assert difference(images.decode(whole[:-lacking]), images.decode(whole)) == 0


def with_frame(change) -> bytes:
    """A JPEG whose start of frame is changed."""
    data = bytearray(encode(PICTURE, "JPEG"))
    change(data, data.index(b"\xff\xc0"))
    return bytes(data)


@pytest.mark.parametrize("frame", [0xC3, 0xC5, 0xC7, 0xCB])
def test_a_jpeg_of_an_unusual_process_is_not_called_damaged(frame):
    def change(data, at):
        data[at + 1] = frame

    with pytest.raises(InputError, match="This JPEG is stored in a way that is not supported"):
        images.decode(with_frame(change))


def test_a_jpeg_of_twelve_bits_is_not_called_damaged():
    def change(data, at):
        data[at + 4] = 12

    with pytest.raises(InputError, match="This JPEG is stored in a way that is not supported"):
        images.decode(with_frame(change))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "HEIF", "AVIF", "TIFF", "BMP"])
def test_pixels_are_counted_before_decoding(kind):
    data = encode(PICTURE, kind)
    images = ImageLoader(ImageLimits(max_pixels=WIDTH * HEIGHT))
    assert images.decode(data).shape == (HEIGHT, WIDTH, 3)
    images = ImageLoader(ImageLimits(max_pixels=WIDTH * HEIGHT - 1))
    with pytest.raises(InputError, match="pixels"):
        images.decode(data)


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_a_container_that_lies_about_its_size_is_bounded(kind):
    data, place = bytearray(encode(Image.new("RGB", (3000, 3000)), kind)), -1
    while (place := data.find(b"ispe", place + 1)) >= 0:
        data[place + 8 : place + 16] = struct.pack(">II", 64, 64)
    images = ImageLoader(ImageLimits(max_pixels=64 * 64))
    try:
        assert images.decode(bytes(data)).shape == (64, 64, 3)
    except InputError as refusal:
        assert "damaged" in str(refusal) or "pixels" in str(refusal)  # noqa: PT017 - both answers are good


def test_bytes_are_counted_before_anything(tmp_path):
    data = encode(PICTURE, "PNG")
    (tmp_path / "large.png").write_bytes(data)
    images = ImageLoader(ImageLimits(max_bytes=len(data) - 1))
    for source in (lambda: images.decode(data), lambda: images.read_file(tmp_path / "large.png")):
        with pytest.raises(InputError, match="is larger than"):
            source()


def test_files(tmp_path):
    name = tmp_path / "a picture.txt"
    name.write_bytes(encode(PICTURE, "PNG"))
    os.mkfifo(tmp_path / "pipe")
    assert difference(images.read_file(name), PIXELS) == 0
    assert difference(images.load(str(name)), PIXELS) == 0
    for path, words in [
        (tmp_path, "folder or a device"),
        (tmp_path / "pipe", "folder or a device"),
        ("/dev/zero", "folder or a device"),
        (tmp_path / "none.png", "no file of that name"),
        ("nul\0.png", "cannot be read"),
        ("x" * 5000, "cannot be read"),
        (name / "below", "cannot be read"),
    ]:
        with pytest.raises(InputError, match=words):
            images.load(str(path))


@pytest.mark.parametrize("name", ["astronaut.jpg", "camera.png", "chelsea.png"])
def test_real_photographs(name):
    with Image.open(SAMPLES / name) as image:
        expected = np.asarray(image.convert("RGB"))
    assert difference(images.read_file(SAMPLES / name), expected) == 0


@pytest.mark.external
def test_every_awkward_file_is_decoded_or_refused_in_one_sentence():
    refused = {}
    files = [path for path in Path(os.environ["IMGCAP_TEST_DATA"], "robust").rglob("*") if path.is_file()]
    for path in files:
        try:
            images.read_file(path)
        except InputError as refusal:
            refused[path.name] = str(refusal)
    print(json.dumps(refused, indent=1))
    assert not [sentence for sentence in refused.values() if ". " in sentence or not sentence.endswith(".")]
    assert len(files) > 100
    assert all(
        name.startswith(("LICENSE", "truncated", "broken", "corrupt", "empty", "decompression_bomb"))
        or name.endswith((".tga", ".jp2"))
        for name in refused
    )


@pytest.mark.external
def test_orientation_examples_are_alike():
    folder = Path(os.environ["IMGCAP_TEST_DATA"], "robust", "exif-orientation-examples")
    for kind in ("Landscape", "Portrait"):
        small = [
            np.asarray(Image.fromarray(images.read_file(path)).resize((60, 40)))
            for path in sorted(folder.glob(f"{kind}_*.jpg"))
        ]
        assert len(small) >= 4
        assert all(difference(small[0], other) < 4 for other in small)  # the number in the middle differs
