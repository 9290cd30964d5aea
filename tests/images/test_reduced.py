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
    """A file as a camera with many pixels would write it, in which the finest detail is noise."""
    photo = np.asarray(Image.open(path).convert("RGB"))
    large = cv2.resize(photo, sides, interpolation=cv2.INTER_LANCZOS4)
    if sigma:
        large = cv2.GaussianBlur(large, (0, 0), sigma)
    noise = np.random.default_rng(0).normal(0, 3, (*large.shape[:2], 1))
    buffer = io.BytesIO()
    Image.fromarray((large + noise).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.fixture
def decode_both(monkeypatch):
    """Return a file's pixels as they are decoded, and as they would be without reduced decoding."""
    reduce = pixels._shrink_while_decoding

    def decode(data):
        arrays = []
        for shrink in (reduce, lambda image: None):
            monkeypatch.setattr(pixels, "_shrink_while_decoding", shrink)
            arrays.append(pixels.to_rgb(data, Settings().max_pixels))
        return arrays

    return decode


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
@pytest.mark.parametrize("sigma", [0, 20])
@pytest.mark.parametrize("sides", [(2400, 1800), (1600, 3200)])
def test_a_large_jpeg_is_judged_as_if_it_were_decoded_whole(path, sigma, sides, decode_both):
    data, threshold = enlarged(path, sigma, sides), Settings().blur_threshold
    decoded = Image.open(io.BytesIO(data))
    pixels._shrink_while_decoding(decoded)
    assert decoded.size < sides  # or nothing is tested
    reduced, whole = decode_both(data)
    assert reduced.shape == whole.shape
    assert max(reduced.shape) >= 2 * LONGER_SIDE
    assert min(reduced.shape[:2]) >= 2 * SHORTER_SIDE > 224
    assert np.abs(reduced.astype(int) - whole).mean() < 2
    one, other = measure(reduced, threshold), measure(whole, threshold)
    assert one.valid is other.valid
    assert one.variance == pytest.approx(other.variance, rel=0.15, abs=1)


@pytest.mark.external
def test_so_is_every_photograph_of_the_larger_data(test_data, decode_both):
    """Each photograph is tried as it is, and as a camera of six megapixels would have taken it, sharp and blurred."""
    import datasets  # of [train], which Python 3.13 is tested without

    rows = datasets.load_dataset(str(test_data / "flickr8k")).cast_column("image", datasets.Image(decode=False))
    small = [image["bytes"] for split in rows.values() for image in split["image"]]
    small += [path.read_bytes() for name in ("photos", "blur") for path in (test_data / name).glob("*.jpg")]
    assert len(small) > 8000
    for data in small:
        reduced, whole = decode_both(data)
        assert np.array_equal(reduced, whole)  # so the verdict is the same, too
    threshold, verdicts = Settings().blur_threshold, []
    for path in sorted((test_data / "photos").glob("*.jpg")):
        with Image.open(path) as photo:
            scale = (6e6 / photo.width / photo.height) ** 0.5
            sides = round(photo.width * scale), round(photo.height * scale)
        for sigma in (0, 12):
            one, other = (measure(array, threshold) for array in decode_both(enlarged(path, sigma, sides)))
            verdicts.append((path.name, sigma, one.valid, other.valid, one.variance, other.variance))
    assert not [verdict for verdict in verdicts if verdict[2] is not verdict[3]]
    assert 0.2 < np.mean([verdict[2] for verdict in verdicts]) < 0.8  # or few of them could have changed
