"""The encoder's grids of a data set, computed once and kept in memory-mapped files.

While the encoder is frozen its output never changes, so a decoder's epoch takes minutes instead of a quarter of an
hour. Augmentation survives in part: a picture has several views, the first as it is, the others randomly changed.
"""

import copy
import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from imgcap.data.loading import AugmentationConfig, CaptionCollator, augmentation
from imgcap.model import ImgcapForImageCaptioning

logger = logging.getLogger(__name__)


def cached_views(
    folder: Path,
    model: ImgcapForImageCaptioning,
    dataset: datasets.Dataset,
    collator: CaptionCollator,
    augment: AugmentationConfig,
    views: int,
    batch_size: int = 32,
) -> list[NDArray[np.float16]]:
    """Grids of `views` views of every picture, read from `folder` or computed into it.

    Returns one memory-mapped array (len(dataset), P, C) float16 a view. Each is written beside its final name and
    moved there when whole, so an interrupted run goes on with the view it was at. The files are named after the
    encoder's weights, the pictures and the augmentation: a change of any of them makes new files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = _fingerprint(model, dataset, augment)
    arrays = []
    for view in range(views):
        path = folder / f"{name}-{view}.npy"
        if not path.exists():
            collator.augment = augmentation(augment, model.config.image_size) if view else None
            torch.manual_seed(view)
            _extract(path, model, dataset["image"], collator, batch_size)
        arrays.append(np.load(path, mmap_mode="r"))
    return arrays


def _fingerprint(model: ImgcapForImageCaptioning, dataset: datasets.Dataset, augment: AugmentationConfig) -> str:
    digest = hashlib.sha256(json.dumps([dataset._fingerprint, vars(augment)]).encode())
    for tensor in model.encoder.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@torch.inference_mode()
def _extract(
    path: Path, model: ImgcapForImageCaptioning, images: Sequence[Any], collator: CaptionCollator, batch_size: int
) -> None:
    encoder = copy.deepcopy(model.encoder).eval().to(torch.bfloat16)
    partial = path.with_suffix(".partial")
    cells = (model.config.image_size // 32) ** 2
    array = np.lib.format.open_memmap(
        partial, mode="w+", dtype=np.float16, shape=(len(images), cells, model.encoder.channels)
    )
    for start in tqdm(range(0, len(images), batch_size), desc=f"features {path.name}", mininterval=5):
        pixels = collator.pixels(images[start : start + batch_size])
        grid = encoder(pixels).last_hidden_state
        array[start : start + len(grid)] = grid.float().numpy()
    array.flush()
    partial.rename(path)
