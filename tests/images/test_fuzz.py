"""Mutated real files give an array or one known sentence, within the limits of time and memory.

`IMGCAP_FUZZ_EXAMPLES=100000 python -m pytest tests/images/test_fuzz.py` looks for longer.
"""

import os
import re
from functools import cache
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from hostile import encode
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from PIL import Image

from imgcap.errors import InputError
from imgcap.images.sandbox import Sandbox, memory_limit

pillow_heif.register_heif_opener()
MAX_PIXELS = 1_000_000
SENTENCES = re.compile(
    r"The picture is damaged or cut short: .*\.|The picture has more than 1 million pixels: .*\."
    r"|This is not a picture of a known kind: .*\.|[\w ]+ files are not supported: .*\."
    r"|The picture is too small: .*\.|A side of the picture is longer than 65,535 pixels: .*\."
    r"|This (JPEG|TIFF|HEIC) is stored in a way that is not supported: .*\."
    r"|The file shows only a reduced copy of its picture: .*\.|The picture's metadata is too large: .*\."
)
KINDS = ["JPEG", "progressive JPEG", "CMYK JPEG", "MPO", "PNG", "palette PNG", "16 bit PNG", "WEBP", "lossless WEBP"]
KINDS += ["animated WEBP", "GIF", "animated GIF", "HEIF", "AVIF", "TIFF", "LZW TIFF", "JPEG TIFF", "G4 TIFF", "BMP"]


@cache
def seed(kind: str) -> bytes:
    """A small real file of each kind, with EXIF, XMP and a colour profile where it can have them."""
    with Image.open(Path(__file__).parents[1] / "samples" / "chelsea.png") as photo:
        picture = photo.convert("RGB").resize((48, 34))
    mode = {"CMYK": "CMYK", "palette": "P", "16 bit": "I;16", "G4": "1"}.get(kind.rpartition(" ")[0], "RGB")
    picture = (
        Image.fromarray(np.asarray(picture)[..., 0].astype(np.uint16) * 257)
        if mode == "I;16"
        else picture.convert(mode)
    )
    options: dict = {
        "progressive JPEG": {"progressive": True},
        "lossless WEBP": {"lossless": True},
        "LZW TIFF": {"compression": "tiff_lzw"},
        "JPEG TIFF": {"compression": "jpeg"},
        "G4 TIFF": {"compression": "group4"},
    }.get(kind, {})
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"
    if kind.startswith("animated") or kind == "MPO":
        options |= {"save_all": True, "append_images": [picture.rotate(90)]}
    return encode(picture, kind.rpartition(" ")[2], exif=exif, **options)


NUMBERS = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


@st.composite
def mutated(draw) -> bytes:
    kind = draw(st.sampled_from(KINDS))
    data = bytearray(seed(kind))
    event(kind)
    for _ in range(draw(st.integers(1, 4))):
        # Headers are where lengths and offsets stand, so they are hit more often.
        place = draw(st.integers(0, min(len(data), 200)) | st.integers(0, len(data)))
        other = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["byte", "number", "cut", "insert", "copy", "remove", "splice"])):
            case "byte":
                data[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
            case "number":
                size, order = draw(st.sampled_from([2, 4])), draw(st.sampled_from(["little", "big"]))
                number = draw(st.sampled_from(NUMBERS)) & (256**size - 1)
                data[place : place + size] = number.to_bytes(size, order)
            case "cut":
                del data[place:]
            case "insert":
                data[place:place] = draw(st.binary(max_size=64))
            case "copy":
                data[place:place] = data[other : other + draw(st.integers(0, 2000))]
            case "remove":
                del data[place : place + draw(st.integers(0, 200))]
            case "splice":
                data[place:] = seed(draw(st.sampled_from(KINDS)))[place:]
    return bytes(data)


@pytest.fixture(scope="module")
def box() -> Sandbox:
    return Sandbox(children=1)


def check(box: Sandbox, data: bytes) -> None:
    """Check the outcome: a hang over 5 s, a crash or too much memory would give a sentence that is not in the list."""
    try:
        answer = box.decode(data, MAX_PIXELS)
    except InputError as refusal:
        answer = str(refusal)
    if isinstance(answer, str):
        event("refused")
        assert SENTENCES.fullmatch(answer), (answer, data)
    else:
        event("decoded")
        assert answer.dtype == np.uint8
        assert answer.ndim == 3
        assert answer.shape[2] == 3
        assert 0 < answer.shape[0] * answer.shape[1] <= MAX_PIXELS


@settings(
    max_examples=int(os.environ.get("IMGCAP_FUZZ_EXAMPLES", "1000")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
@given(data=mutated())
def test_mutated_files_are_decoded_or_refused_in_time_and_memory(box, data):
    check(box, data)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(min_size=1, max_size=300), kind=st.sampled_from(KINDS), kept=st.integers(0, 40))
def test_noise_behind_a_real_beginning_is_decoded_or_refused_in_time_and_memory(box, data, kind, kept):
    check(box, seed(kind)[:kept] + data)


def test_the_memory_limit_holds_for_the_whole_run(box):
    with box.child() as child:
        status = Path(f"/proc/{child.pid}/status").read_text()
    assert int(status.split("VmPeak:")[1].split()[0]) * 1024 <= memory_limit(MAX_PIXELS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_seeds_themselves_decode(box, kind):
    assert sorted(box.decode(seed(kind), MAX_PIXELS).shape) == [3, 34, 48]
