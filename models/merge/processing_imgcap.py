"""The image processor and tokenizer of the captioner."""

from typing import Any

from torch import Tensor
from transformers import ProcessorMixin
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, PILImageResampling

from .decoding import as_sentence


class ImgcapImageProcessor(TorchvisionBackend):
    """Turn RGB images into `pixel_values` (B, 3, S, S) float32, resized to a square and normalised as for ImageNet.

    The aspect ratio is deliberately not kept: the training images were resized in the same way, and a crop would cut
    away part of what the caption describes.
    """

    model_input_names = ["pixel_values"]  # noqa: RUF012 - transformers' own form
    size = {"height": 224, "width": 224}  # noqa: RUF012
    resample = PILImageResampling.BILINEAR
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    default_to_square = True
    do_resize = True
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True


class ImgcapProcessor(ProcessorMixin):
    """The image processor and the word-level tokenizer of one captioner."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, **kwargs: Any) -> None:
        super().__init__(image_processor, tokenizer, **kwargs)

    @property
    def unused_input_names(self) -> list[str]:
        """Inputs that the tokenizer may return and the model does not accept."""
        return ["token_type_ids"]

    def sentences(self, token_ids: Tensor) -> list[str]:
        """Return N captions, with a capital and a full stop, for generated ids (N, T) int64."""
        return [as_sentence(text) for text in self.tokenizer.batch_decode(token_ids, skip_special_tokens=True)]
