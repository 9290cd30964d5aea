"""Run a captioner in ONNX Runtime, which serves on CPUs. Imports neither PyTorch nor transformers.

`imgcap.inference.engines.export` writes the three graphs: pixels -> grid and pooled feature maps; grid -> the decoder's
memory of the image; one word -> log-probabilities. The files are named as on the Hub.
"""

import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from imgcap.inference.engines.engine import Encoding, Features

ENCODER, DECODER_START, DECODER_STEP = "encoder_model", "decoder_model", "decoder_with_past_model"
GRAPHS = (ENCODER, DECODER_START, DECODER_STEP)
ENCODER_OUTPUTS = "grid", "early", "peaks"
ENCODED_TOGETHER = 4
"""Images that the encoder takes at once. More are no faster, and each takes 5 MB that ONNX Runtime never frees."""
CAPTIONED_TOGETHER = 8
"""Images captioned in a batch. A decoder's step is a little faster with more, but all of a batch wait for its last."""


def file_name(graph: str, *, quantized: bool) -> str:
    """Return the name of a graph's file: 'encoder_model_quantized.onnx' for 'encoder_model'."""
    return f"{graph}{'_quantized' if quantized else ''}.onnx"


@dataclass(frozen=True)
class OnnxState:
    """The decoder's state between two words.

    hidden: (B, n, H), the LSTMs' h and c of n captions for each image.
    memory: B rows each, computed once from the image.
    attention: (N, P) of the last step; None before the first step, or if the decoder has no attention.
    """

    hidden: NDArray[np.float32]
    memory: tuple[NDArray[np.float32], ...]
    attention: NDArray[np.float32] | None = None


class OnnxEngine:
    """Runs the graphs in a folder. Any thread may call.

    An image alone is encoded on every core. When several threads call, each keeps to one core: a call on several cores
    waits for its slowest part at each layer, and burns the cores that wait. The decoder always keeps to one core, since
    its products are small.

    Args:
        folder: of the graphs.
        quantized: take the int8 graphs.
        threads: cores to use.
        exact_sums: sum int8 products without overflow, which costs a third more time on processors without an int8 dot
            product. With one no sum can overflow, and this only costs time.

    Raises whatever onnxruntime raises if a graph is missing, damaged or of another kind.
    """

    def __init__(self, folder: Path, *, quantized: bool, threads: int, exact_sums: bool = True) -> None:
        def open_session(graph: str, threads: int) -> onnxruntime.InferenceSession:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            # Idle threads that spin would take the cores from each other, the decoder children and the web server.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            if exact_sums:
                options.add_session_config_entry("session.x64quantprecision", "1")
            options.log_severity_level = 3  # its warnings are about the export, which a user cannot change
            path = folder / file_name(graph, quantized=quantized)
            return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

        self._encoder = open_session(ENCODER, threads)
        self._start, self._step = open_session(DECODER_START, 1), open_session(DECODER_STEP, 1)
        self._opening = threading.Lock()
        self._open_narrow = partial(open_session, ENCODER, 1)
        self._narrow = self._encoder if threads == 1 else None  # opened when it is needed: it takes memory
        self.lanes, self.together = threads, CAPTIONED_TOGETHER
        self._memory = [output.name for output in self._start.get_outputs()]
        shapes = {value.name: value.shape for value in self._step.get_inputs()}
        self._hidden = int(shapes["hidden"][-1])
        self.description = f"ONNX Runtime, {'int8' if quantized else 'float32'}, {threads} threads"

    def encode(self, pixels: NDArray[np.float32], *, alone: bool = True) -> Encoding:
        """See `Engine.encode`."""
        session = self._encoder if alone else self._on_one_core()
        parts = [pixels[start : start + ENCODED_TOGETHER] for start in range(0, len(pixels), ENCODED_TOGETHER)]
        outputs = [session.run([*ENCODER_OUTPUTS], {"pixel_values": part}) for part in parts]
        grid, early, peaks = (np.concatenate(arrays) for arrays in zip(*outputs, strict=True))
        return Encoding(grid, Features(grid.mean(1), early, peaks))

    def start(self, grid: NDArray[np.float32], captions: int) -> OnnxState:
        """See `Engine.start`."""
        hidden = np.zeros((len(grid), captions, self._hidden), np.float32)
        return OnnxState(hidden, tuple(self._start.run(None, {"grid": grid})))

    def step(self, words: NDArray[np.int64], state: OnnxState) -> tuple[NDArray[np.float32], OnnxState]:
        """See `Engine.step`."""
        memory = dict(zip(self._memory, state.memory, strict=True))
        words = words.reshape(state.hidden.shape[:2])
        logarithms, hidden, *looked = self._step.run(None, {"words": words, "hidden": state.hidden, **memory})
        attention = looked[0].reshape(words.size, -1) if looked else None
        return logarithms.reshape(words.size, -1), OnnxState(hidden, state.memory, attention)

    def select(self, state: OnnxState, rows: NDArray[np.int64], pictures: NDArray[np.int64] | None = None) -> OnnxState:
        """See `Engine.select`."""
        memory = state.memory if pictures is None else tuple(array[pictures] for array in state.memory)
        hidden = state.hidden.reshape(-1, self._hidden)[rows].reshape(len(memory[0]), -1, self._hidden)
        return OnnxState(hidden, memory, None if state.attention is None else state.attention[rows])

    def attention(self, state: OnnxState) -> NDArray[np.float32] | None:
        """See `Engine.attention`."""
        return state.attention

    def _on_one_core(self) -> onnxruntime.InferenceSession:
        with self._opening:
            if self._narrow is None:
                self._narrow = self._open_narrow()
            return self._narrow
