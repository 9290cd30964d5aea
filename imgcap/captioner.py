"""A picture becomes a Reading. The page, the API and the command line all call this."""

import logging
import threading
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from imgcap.blur.sharpness import measure
from imgcap.errors import InputError
from imgcap.images.loading import ImageLoader
from imgcap.reading import Caption, Length, Reading, check_length
from imgcap.settings import Settings

if TYPE_CHECKING:
    from imgcap.model import ImgcapForImageCaptioning, ImgcapProcessor

NUM_ALTERNATIVES = 3
UNOPENED = "The picture could not be opened because of a fault of this program: its log says more."
logger = logging.getLogger(__name__)


class Captioner:
    """The blur check and the model behind it.

    The model is loaded once, at the first caption or by `load()`; a check never waits for it.
    Safe to call from several threads: captions are written one after the other, since each uses every core.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.images = ImageLoader(settings.image_limits)
        self._lock = threading.Lock()

    def check(self, image: NDArray[np.uint8], source: str | None = None) -> Reading:
        """A Reading without captions of image (H, W, 3), uint8 RGB."""
        sharpness = measure(image, self.settings.blur_threshold)
        return Reading(source, sharpness.valid, sharpness.reason, sharpness.variance, sharpness.threshold)

    def caption(self, image: NDArray[np.uint8], length: str = "normal", source: str | None = None) -> Reading:
        """A Reading of image (H, W, 3), uint8 RGB; with captions if the picture is sharp enough.

        Raises:
            InputError: no such length, or the configured model cannot be loaded.
        """
        return self.complete(self.check(image, source), image, check_length(length))

    def complete(self, reading: Reading, image: NDArray[np.uint8], length: Length) -> Reading:
        """The Reading that `check` gave of image (H, W, 3), uint8 RGB, with captions if it is valid."""
        if not reading.valid:
            return reading
        first, *others = self.describe(image, length)
        return replace(reading, caption=first.caption, confidence=first.confidence, alternatives=tuple(others))

    def caption_source(self, source: str, length: str = "normal") -> Reading:
        """`caption` of a file or link; what is wrong with it stands in the Reading's `error`, and is not raised."""
        wanted = check_length(length)
        try:
            image = self.images.load(source)
        except InputError as error:
            return self.refuse(str(error), source)
        except Exception:  # a fault of ours with one source must not cost the answers to the others
            logger.exception("A source could not be opened.")
            return self.refuse(UNOPENED, source)
        return self.caption(image, wanted, source)

    def refuse(self, error: str, source: str | None = None) -> Reading:
        """The Reading of an input that held no picture."""
        return Reading(source, None, None, None, self.settings.blur_threshold, error=error)

    def describe(self, image: NDArray[np.uint8], length: Length = "normal") -> list[Caption]:
        """Different captions for image (H, W, 3), uint8 RGB, the one to show first, whatever its sharpness."""
        self.load()  # before the imports below: two threads that import transformers at once break its lazy modules
        import torch

        from imgcap.inference.alternatives import write_different
        from imgcap.inference.confidence import confidence

        with self._lock, torch.inference_mode():
            model, processor = self._captioner
            pixels = processor.image_processor(image, return_tensors="pt", input_data_format="channels_last")
            grid = model.encoder(pixels["pixel_values"]).last_hidden_state
            captions = write_different(model, processor, grid, length, NUM_ALTERNATIVES)
        return [Caption(text, confidence(model.config, probability)) for text, probability in captions]

    def load(self) -> None:
        """Load the model now, so that the first caption does not wait for it."""
        with self._lock:
            _ = self._captioner

    @cached_property
    def _captioner(self) -> "tuple[ImgcapForImageCaptioning, ImgcapProcessor]":
        import torch
        from transformers.utils.logging import disable_progress_bar

        from imgcap.inference.checkpoint import load_captioner

        disable_progress_bar()  # one file of sixty megabytes loads before a bar could help
        model, processor = load_captioner(self.settings.model)
        # Faster where the processor multiplies bfloat16 itself, slower than float32 where it does not.
        if any(torch.cpu.get_capabilities().get(feature) for feature in ("amx_bf16", "avx512_bf16")):
            model.encoder.to(torch.bfloat16)
        return model, processor
