"""Compute the encoder's grids of a data set once, and keep them in memory-mapped files.

The output of a frozen encoder never changes, so with cached grids an epoch of the decoder takes minutes instead of a
quarter of an hour. If only the encoder's last stages are trained, their input never changes and is cached instead. Part
of the augmentation remains: an image has several views, of which the first is unchanged and the others are augmented.
"""

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from imgcap.data.augmentation import AugmentationConfig, augmentation
from imgcap.data.collator import CaptionCollator
from imgcap.data.loading import CaptionedImages
from imgcap.inference.engines.device import multiplies_bfloat16
from imgcap.model import ImgcapForImageCaptioning
from imgcap.model.modeling_imgcap import Encoder


def cached_views(
    folder: Path,
    model: ImgcapForImageCaptioning,
    rows: CaptionedImages,
    collator: CaptionCollator,
    augment: AugmentationConfig,
    views: int,
    *,
    stages: int = 0,
    batch_size: int = 32,
) -> list[NDArray[np.float16]]:
    """Return the grids of `views` views of every image, read from a folder or computed into it.

    Each file is renamed to its final name when it is complete, so an interrupted run continues with the view at which
    it stopped. The names are hashes of the encoder's weights, the images and the augmentation, so that a change of any
    of them makes new files.

    Args:
        folder: holds the files; created if it does not exist.
        model: its encoder makes the grids, on the device of the model.
        rows: the images.
        collator: turns images into pixels.
        augment: the random changes of all views but the first.
        views: number of views.
        stages: number of the encoder's last stages that are trained and therefore left out.
        batch_size: images encoded together.

    Returns:
        A memory-mapped float16 array for each view, (len(rows), P, C). If stages are left out, it is their input
        (len(rows), c, h, w), which the encoder's `finish` takes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = _fingerprint(model, rows, augment, stages)
    arrays = []
    for view in range(views):
        path = folder / f"{name}-{view}.npy"
        if not path.exists():
            change = augmentation(augment, model.config.image_size) if view else None
            torch.manual_seed(view)
            _extract(path, _encoder(model), stages, rows.images, replace(collator, augment=change), batch_size)
        arrays.append(np.load(path, mmap_mode="r"))
    return arrays


def _encoder(model: ImgcapForImageCaptioning) -> Encoder:
    encoder = copy.deepcopy(model.encoder).eval()
    return encoder.to(torch.bfloat16) if multiplies_bfloat16(model.device) else encoder


def _fingerprint(
    model: ImgcapForImageCaptioning, rows: CaptionedImages, augment: AugmentationConfig, stages: int
) -> str:
    digest = hashlib.sha256(json.dumps([rows.fingerprint, vars(augment)]).encode())
    for tensor in model.encoder.stages(stages)[0].state_dict().values():
        # The sum turns -0.0 into 0.0, as a mean of equal weights does.
        digest.update((tensor.detach().cpu() + 0).contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@torch.inference_mode()
def _extract(
    path: Path,
    encoder: Encoder,
    stages: int,
    images: Sequence[Image.Image],
    collator: CaptionCollator,
    batch_size: int,
) -> None:
    partial = path.with_suffix(".partial")
    where = next(encoder.parameters()).device
    array: np.memmap[Any, np.dtype[np.float16]] | None = None
    for start in tqdm(range(0, len(images), batch_size), desc=f"features {path.name}", mininterval=5):
        pixels = collator.pixels(images[start : start + batch_size]).to(where)
        features = encoder.begin(pixels, stages) if stages else encoder(pixels).last_hidden_state
        if array is None:
            shape = (len(images), *features.shape[1:])
            array = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=shape)
        array[start : start + len(features)] = features.float().cpu().numpy()
    if array is not None:
        array.flush()
        partial.rename(path)
