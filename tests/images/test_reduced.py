"""Large JPEGs are decoded at a reduced size: the same picture, and the same verdict."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from imgcap.blur.content import LONGER_SIDE, SHORTER_SIDE
from imgcap.blur.sharpness import measure
from imgcap.images import pixels
from imgcap.settings import ROOT, Settings

SAMPLES = sorted((ROOT / "tests" / "samples").glob("*.jpg"))


def enlarged(path, sigma, sides):
    """A file as a large camera would write it: detail down to the pixel is noise."""
    photo = np.asarray(Image.open(path).convert("RGB"))
    large = cv2.resize(photo, sides, interpolation=cv2.INTER_LANCZOS4)
    if sigma:
        large = cv2.GaussianBlur(large, (0, 0), sigma)
    noise = np.random.default_rng(0).normal(0, 3, (*large.shape[:2], 1))
    buffer = io.BytesIO()
    Image.fromarray((large + noise).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
@pytest.mark.parametrize("sigma", [0, 20])
@pytest.mark.parametrize("sides", [(2400, 1800), (1600, 3200)])
def test_a_large_jpeg_is_judged_as_if_it_were_decoded_whole(path, sigma, sides, monkeypatch):
    data, limit, threshold = enlarged(path, sigma, sides), Settings().max_pixels, Settings().blur_threshold
    reduced = pixels.to_rgb(data, limit)
    decoded = Image.open(io.BytesIO(data))
    pixels._shrink_while_decoding(decoded)
    assert decoded.size < sides  # or nothing is tested
    monkeypatch.setattr(pixels, "_shrink_while_decoding", lambda image: None)
    whole = pixels.to_rgb(data, limit)
    assert reduced.shape == whole.shape
    assert max(reduced.shape) >= 2 * LONGER_SIDE
    assert min(reduced.shape[:2]) >= 2 * SHORTER_SIDE > 224
    assert np.abs(reduced.astype(int) - whole).mean() < 2
    one, other = measure(reduced, threshold), measure(whole, threshold)
    assert one.valid is other.valid
    assert one.variance == pytest.approx(other.variance, rel=0.15, abs=1)
