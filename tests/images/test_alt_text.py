import io

import exiv2
import numpy as np
import pytest
from hostile import encode
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, IptcImagePlugin

from imgcap.errors import InputError
from imgcap.images import alt_text
from imgcap.images.alt_text import AltTextWriter, one_line

CAPTION = "A dog runs across the beach."
KINDS = ("JPEG", "PNG", "WEBP", "TIFF")
writer = AltTextWriter()


def picture(kind: str, **options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return encode(Image.fromarray(noise), kind, **options)


def metadata(data: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """XMP and IPTC as the library reads them from a file."""
    image = exiv2.ImageFactory.open(data)
    image.readMetadata()
    return tuple({entry.key(): entry.toString() for entry in part} for part in (image.xmpData(), image.iptcData()))


def alternative(data: bytes) -> str:
    return metadata(data)[0][alt_text.ALT_TEXT].removeprefix('lang="x-default" ')


def with_metadata(kind: str, xmp: dict[str, object] | None = None, iptc: dict[str, object] | None = None) -> bytes:
    image = exiv2.ImageFactory.open(picture(kind))
    image.readMetadata()
    for key, value in (xmp or {}).items():
        image.xmpData()[key] = value
    for key, value in (iptc or {}).items():
        image.iptcData()[key] = value
    image.writeMetadata()
    return bytes(image.io().data())


@pytest.mark.parametrize("kind", KINDS)
def test_the_caption_is_in_the_copy_and_no_pixel_has_changed(kind):
    original = picture(kind)
    described = writer.write(original, CAPTION)
    assert described.written
    assert alternative(described.data) == CAPTION
    before, after = Image.open(io.BytesIO(original)), Image.open(io.BytesIO(described.data))
    assert after.tobytes() == before.tobytes()
    assert CAPTION.encode() in after.info.get("xmp", b"") or kind == "TIFF"  # as Pillow finds it
    if kind in ("JPEG", "TIFF"):
        assert IptcImagePlugin.getiptcinfo(after)[2, 120] == CAPTION.encode()


def test_the_coded_picture_in_a_jpeg_is_the_same_to_the_byte():
    original = picture("JPEG", progressive=True, quality=80)
    coded = original[original.index(b"\xff\xdb") :]
    assert writer.write(original, CAPTION).data.endswith(coded)


def test_every_frame_of_an_animation_stays():
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "green", "blue")]
    moving = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    copy = Image.open(io.BytesIO(writer.write(moving, CAPTION).data))
    assert copy.n_frames == 3


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@example("\x7f\x85\x01 a", "JPEG")
@given(st.text(min_size=1, max_size=300).filter(one_line), st.sampled_from(KINDS))
def test_whatever_the_caption_says_is_read_again(caption, kind):
    expected = one_line(caption)
    copy = writer.write(picture(kind), caption).data
    assert alternative(copy) == expected
    assert metadata(copy)[1].get(alt_text.CAPTION, "").encode() in (expected.encode()[:2000], b"")


def test_an_alternative_text_that_is_there_stays_unless_asked():
    persons = with_metadata("JPEG", {alt_text.ALT_TEXT: exiv2.LangAltValue({"x-default": "Rex, our dog"})})
    kept = writer.write(persons, CAPTION)
    assert (kept.written, kept.data) == (False, persons)
    assert alternative(writer.write(persons, CAPTION, overwrite=True).data) == CAPTION


def test_a_persons_caption_and_everything_else_stay():
    persons = with_metadata(
        "JPEG",
        {"Xmp.dc.rights": exiv2.LangAltValue({"x-default": "© Ada"})},
        {alt_text.CAPTION: "Rex", "Iptc.Application2.City": "Leipzig"},
    )
    xmp, iptc = metadata(writer.write(persons, CAPTION).data)
    assert xmp["Xmp.dc.rights"].endswith("© Ada")
    assert iptc == {alt_text.CAPTION: "Rex", "Iptc.Application2.City": "Leipzig"}
    assert metadata(writer.write(persons, CAPTION, overwrite=True).data)[1][alt_text.CAPTION] == CAPTION


def test_texts_in_an_old_character_set_are_not_garbled():
    raw = with_metadata("JPEG", iptc={"Iptc.Application2.City": "Z__rich"}).replace(b"Z__rich", b"Z\xfcr\xefch")
    copy = writer.write(raw, "Ein Hund läuft.").data
    assert b"Z\xfcr\xefch" in copy
    assert b"\x1b%G" not in copy
    assert alternative(copy) == "Ein Hund läuft."


@pytest.mark.parametrize("kind", ["GIF", "BMP", "AVIF"])
def test_a_kind_that_cannot_hold_it_is_refused_in_a_sentence(kind):
    with pytest.raises(InputError, match="JPEG, PNG, WebP and TIFF can"):
        writer.write(picture(kind), CAPTION)


@pytest.mark.parametrize("data", [b"", b"nothing", picture("JPEG")[:30], picture("PNG")[:40], picture("TIFF")[:9]])
def test_what_is_no_picture_is_refused_in_a_sentence(data):
    with pytest.raises(InputError):
        writer.write(data, CAPTION)


def test_without_the_optional_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"imgcap\[alt-text\]"):
        writer.write(picture("JPEG"), CAPTION)
