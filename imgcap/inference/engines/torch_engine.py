"""Run the captioner in PyTorch, as the reference and for serving on GPUs."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imgcap.inference.engines.engine import Encoding, Features
from imgcap.inference.engines.graphs import EncoderGraph, decoder_graphs
from imgcap.model import ImgcapForImageCaptioning


@dataclass(frozen=True)
class TorchState:
    """The decoder's state between two words, as `OnnxState` of the other engine, but on the device."""

    hidden: Tensor
    memory: tuple[Tensor, ...]
    attention: Tensor | None = None


def encoding_of(grid: Tensor, early: Tensor, peaks: Tensor) -> Encoding:
    """Return the Encoding of images from the outputs of `EncoderGraph`."""
    return Encoding(grid, Features(*(tensor.cpu().numpy() for tensor in (grid.mean(1), early, peaks))))


class TorchEngine:
    """Runs a captioner on a device.

    The encoder runs in `encoder_dtype`. The decoder runs in float32, because it takes little time and small errors in
    it would change words.
    """

    def __init__(
        self,
        model: ImgcapForImageCaptioning,
        device: torch.device | str = "cpu",
        encoder_dtype: torch.dtype = torch.float32,
    ) -> None:
        self._device = torch.device(device)
        model = model.eval().to(self._device)
        encoder = EncoderGraph(model.encoder)
        model.encoder.to(encoder_dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._start, self._step = decoder_graphs(model)
        self.graphs = encoder, self._start, self._step
        self._hidden = sum(self._step.widths)
        precision = {torch.float32: "float32", torch.bfloat16: "bfloat16"}[encoder_dtype]
        self.description = f"PyTorch, {precision}, {self._device.type}"

    lanes = 1  # each call takes every core, or the whole device
    together = 16

    @torch.inference_mode()
    def encode(self, pixels: NDArray[np.float32], *, alone: bool = True) -> Encoding:  # noqa: ARG002 - one way for both
        """See `Engine.encode`."""
        return encoding_of(*self.graphs[0](torch.from_numpy(np.ascontiguousarray(pixels, np.float32)).to(self._device)))

    @torch.inference_mode()
    def start(self, grid: Tensor, captions: int) -> TorchState:
        """See `Engine.start`."""
        return TorchState(torch.zeros(len(grid), captions, self._hidden, device=self._device), self._start(grid))

    @torch.inference_mode()
    def step(self, words: NDArray[np.int64], state: TorchState) -> tuple[NDArray[np.float32], TorchState]:
        """See `Engine.step`."""
        ids = torch.from_numpy(words).to(self._device).view(state.hidden.shape[:2])
        logarithms, hidden, *looked = self._step(ids, state.hidden, *state.memory)
        attention = looked[0].flatten(0, 1) if looked else None
        return logarithms.flatten(0, 1).cpu().numpy(), TorchState(hidden, state.memory, attention)

    @torch.inference_mode()
    def select(
        self, state: TorchState, rows: NDArray[np.int64], pictures: NDArray[np.int64] | None = None
    ) -> TorchState:
        """See `Engine.select`."""
        memory = state.memory
        if pictures is not None:
            chosen = torch.from_numpy(pictures).to(self._device)
            memory = tuple(tensor.index_select(0, chosen) for tensor in memory)
        places = torch.from_numpy(rows).to(self._device)
        attention = None if state.attention is None else state.attention.index_select(0, places)
        hidden = state.hidden.flatten(0, 1).index_select(0, places).unflatten(0, (len(memory[0]), -1))
        return TorchState(hidden, memory, attention)

    def attention(self, state: TorchState) -> NDArray[np.float32] | None:
        """See `Engine.attention`."""
        return None if state.attention is None else state.attention.cpu().numpy()
