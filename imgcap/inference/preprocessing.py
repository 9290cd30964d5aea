"""Turn RGB images into the encoder's input, with Pillow and numpy.

Pillow's bilinear resize is the model for torchvision's antialiased resize of uint8 images: both use triangle filters
that widen with the reduction. No pixel differs by more than one grey level of 255 from the model's own image processor
(`tests/inference/test_preprocessing.py`).
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgcap.inference.files import Preprocessing


def preprocess(images: list[NDArray[np.uint8]], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Return normalised pixels (B, 3, S, S) of images (H, W, 3), uint8 RGB, resized to a square."""
    side = preprocessing.side
    pixels = np.empty((len(images), 3, side, side), np.float32)
    for place, image in enumerate(images):
        small = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
        pixels[place] = np.asarray(small).transpose(2, 0, 1)
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    pixels *= 1 / (255 * std)
    pixels -= mean / std
    return pixels
