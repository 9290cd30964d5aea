"""The interface between decoding and the library that computes the model; `OnnxEngine` and `TorchEngine` implement it.

Shapes: B images, n captions per image, N = n * B rows (the rows of an image are adjacent), P grid cells, C encoder
channels, V words. Numbers cross this interface as numpy arrays; a grid and a state belong to the engine that made them.
"""

from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

State = TypeVar("State")


class Engine(Protocol[State]):
    """Encodes images and computes the probabilities of the next word.

    description: the library, precision and device, as `imgcap.inference.choice` reports them.
    lanes: number of threads that may usefully call at once.
    together: largest useful number of images in a call; larger batches are hardly faster per image.
    """

    description: str
    lanes: int
    together: int

    def encode(self, pixels: NDArray[np.float32], *, alone: bool = True) -> Any:
        """Return the grid (B, P, C) of normalised pixels (B, 3, S, S).

        Args:
            pixels: pixels of the images.
            alone: nothing else is being computed, so this call may use every core.
        """

    def start(self, grid: Any, captions: int) -> State:
        """Return the state before the first word of `captions` captions per image; grid is (B, P, C)."""

    def step(self, words: NDArray[np.int64], state: State) -> tuple[NDArray[np.float32], State]:
        """Read one word (N,) of each caption.

        Returns:
            The log-probabilities (N, V) of the next word, and the next state; `state` itself does not change.
        """

    def select(self, state: State, rows: NDArray[np.int64], pictures: NDArray[np.int64] | None = None) -> State:
        """Return the state of some rows.

        Args:
            state: a state of N rows.
            rows: indices into `state`, in any order and number, equally many for each image.
            pictures: indices of the images that the new rows belong to; None for all B of them.
        """

    def attention(self, state: State) -> NDArray[np.float32] | None:
        """Return the attention weights of the last step, (N, P), each row summing to 1; None without attention."""

    def as_array(self, grid: Any) -> NDArray[np.float32]:
        """Return a grid as an array."""

    def from_array(self, grid: NDArray[np.float32]) -> Any:
        """Return an array as a grid."""
