"""Turn rows of a data set into batches for the captioner."""

from imgcap.model import torchvision_ops  # noqa: F401, I001 - must come before torchvision and transformers

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from transformers import PreTrainedTokenizerFast

from imgcap.model import ImgcapImageProcessor
from imgcap.model.modeling_imgcap import shift_right

CAPTIONS_PER_IMAGE = 5  # as Flickr8k has


@dataclass(frozen=True)
class CaptionCollator:
    """Make batches in which the captions of an image are adjacent, so that they share its encoding.

    tokenizer: encodes a caption as the start token and its words.
    processor: makes pixel_values; None if the rows hold cached features.
    augment: changes each image first; None outside training.
    max_words: captions are cut after this many tokens; one in ten of Flickr8k's is longer than 16.
    num_captions: captions per image; if an image has fewer, they are repeated.
    """

    tokenizer: PreTrainedTokenizerFast
    processor: ImgcapImageProcessor | None = None
    augment: Callable[[Tensor], Tensor] | None = None
    max_words: int = 16
    num_captions: int = CAPTIONS_PER_IMAGE

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the arguments of the model's forward.

        Args:
            rows: each with "captions" and either "image" or "features".
        """
        labels = self.labels([row["captions"] for row in rows])
        start, pad = self.tokenizer.bos_token_id, self.tokenizer.pad_token_id
        # The model could make these from the labels, but the Trainer removes the labels to smooth them.
        return self.encoder_inputs(rows) | {"labels": labels, "decoder_input_ids": shift_right(labels, start, pad)}

    def encoder_inputs(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the images' arguments of forward: pixel_values, or encoder_outputs if features are cached."""
        if self.processor is None:
            grid = torch.from_numpy(np.stack([row["features"] for row in rows])).float()
            # A tuple, because a GPU's loader copies batches to pinned memory, which it cannot do with a ModelOutput.
            return {"encoder_outputs": (grid,)}
        return {"pixel_values": self.pixels([row["image"] for row in rows])}

    def pixels(self, images: Sequence[Image.Image]) -> Tensor:
        """Return images as pixel_values (B, 3, S, S) float32."""
        if self.processor is None:
            raise ValueError("A collator of cached features has no processor for images.")
        tensors = [v2.functional.pil_to_tensor(image.convert("RGB")) for image in images]
        if self.augment is not None:
            tensors = [self.augment(tensor) for tensor in tensors]
        pixels: Tensor = self.processor(tensors, return_tensors="pt")["pixel_values"]
        return pixels

    def labels(self, captions: Sequence[Sequence[str]]) -> Tensor:
        """Return the captions of B images as labels (B * num_captions, T) int64: words, the end token, then -100."""
        texts = [row[i % len(row)] for row in captions for i in range(self.num_captions)]
        encoded = self.tokenizer(texts, return_attention_mask=False)["input_ids"]
        # Only whole captions get the end token: a cut one must not teach the decoder to stop there.
        whole = [torch.tensor([*ids[1:], self.tokenizer.eos_token_id]) for ids in encoded]
        rows = [ids[: self.max_words] for ids in whole]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)


class ImageCollator(CaptionCollator):
    """Make batches of images, or of their cached features, with their raw captions."""

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the arguments of `imgcap.training.self_critical.SelfCriticalLoss`."""
        return self.encoder_inputs(rows) | {"references": [row["captions"] for row in rows]}
