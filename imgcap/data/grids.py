"""Compute the encoder's grids of a data set once, and keep them in memory-mapped files.

While the encoder is frozen its output never changes, so an epoch of the decoder takes minutes instead of a quarter of
an hour. Augmentation is kept in part: an image has several views, the first unchanged, the others randomly changed.
"""

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from imgcap.data.augmentation import AugmentationConfig, augmentation
from imgcap.data.collator import CaptionCollator
from imgcap.data.loading import CaptionedImages
from imgcap.inference.device import multiplies_bfloat16
from imgcap.model import ImgcapForImageCaptioning


def cached_views(
    folder: Path,
    model: ImgcapForImageCaptioning,
    rows: CaptionedImages,
    collator: CaptionCollator,
    augment: AugmentationConfig,
    views: int,
    batch_size: int = 32,
) -> list[NDArray[np.float16]]:
    """Return the grids of `views` views of every image, read from a folder or computed into it.

    Each file is written beside its final name and moved there when it is complete, so an interrupted run goes on with
    the view at which it stopped. The files are named after the encoder's weights, the images and the augmentation, so
    that a change of any of them makes new files.

    Args:
        folder: holds the files; it is made if it does not exist.
        model: its encoder makes the grids, on the device where it is.
        rows: the images.
        collator: turns images into pixels.
        augment: the random changes of all views but the first.
        views: number of views.
        batch_size: images encoded together.

    Returns:
        A memory-mapped array (len(rows), P, C) float16 for each view.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = _fingerprint(model, rows, augment)
    arrays = []
    for view in range(views):
        path = folder / f"{name}-{view}.npy"
        if not path.exists():
            change = augmentation(augment, model.config.image_size) if view else None
            torch.manual_seed(view)
            _extract(path, model, rows.images, replace(collator, augment=change), batch_size)
        arrays.append(np.load(path, mmap_mode="r"))
    return arrays


def _fingerprint(model: ImgcapForImageCaptioning, rows: CaptionedImages, augment: AugmentationConfig) -> str:
    digest = hashlib.sha256(json.dumps([rows.fingerprint, vars(augment)]).encode())
    for tensor in model.encoder.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@torch.inference_mode()
def _extract(
    path: Path,
    model: ImgcapForImageCaptioning,
    images: Sequence[Image.Image],
    collator: CaptionCollator,
    batch_size: int,
) -> None:
    encoder = copy.deepcopy(model.encoder).eval()
    if multiplies_bfloat16(model.device):
        encoder.to(torch.bfloat16)
    partial = path.with_suffix(".partial")
    cells = (model.config.image_size // 32) ** 2
    array = np.lib.format.open_memmap(
        partial, mode="w+", dtype=np.float16, shape=(len(images), cells, model.encoder.channels)
    )
    for start in tqdm(range(0, len(images), batch_size), desc=f"features {path.name}", mininterval=5):
        pixels = collator.pixels(images[start : start + batch_size]).to(model.device)
        grid = encoder(pixels).last_hidden_state
        array[start : start + len(grid)] = grid.float().cpu().numpy()
    array.flush()
    partial.rename(path)
