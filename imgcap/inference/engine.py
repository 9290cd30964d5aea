"""What decoding needs of a captioner, whatever computes it: `OnnxEngine` and `TorchEngine` provide it.

Shapes: B pictures, n captions a picture, N = n * B rows (the rows of a picture are neighbours), P grid cells, C encoder
channels, V words. Numbers cross this interface as numpy arrays; a grid and a state belong to the engine that made them.
"""

from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

State = TypeVar("State")


class Engine(Protocol[State]):
    """Encodes pictures and computes the probabilities of the next word.

    description: the library, precision and device, as `imgcap.inference.choice` reports them.
    lanes: how many threads may usefully call at once.
    together: pictures in a call, from which on each more takes as long as the one before.
    """

    description: str
    lanes: int
    together: int

    def encode(self, pixels: NDArray[np.float32], *, alone: bool = True) -> Any:
        """Return the grid (B, P, C) of normalised pixels (B, 3, S, S).

        Args:
            pixels: of the pictures.
            alone: nothing else is computed meanwhile, so that it may take every core.
        """

    def start(self, grid: Any, captions: int) -> State:
        """Return the state before the first word of `captions` captions a picture; grid is (B, P, C)."""

    def step(self, words: NDArray[np.int64], state: State) -> tuple[NDArray[np.float32], State]:
        """Read one word (N,) of each caption.

        Returns:
            The log-probabilities (N, V) of the word after it, and the state behind it; `state` itself stays as it was.
        """

    def select(self, state: State, rows: NDArray[np.int64], pictures: NDArray[np.int64] | None = None) -> State:
        """Return the state of some rows.

        Args:
            state: of N rows.
            rows: places in `state`, in any order and number, equally many a picture.
            pictures: the pictures that the new rows belong to, as places among the B; None if they are all of them.
        """

    def attention(self, state: State) -> NDArray[np.float32] | None:
        """Return where the last step looked, (N, P), each row adding up to 1; None if the decoder has no attention."""

    def as_array(self, grid: Any) -> NDArray[np.float32]:
        """Return a grid as an array."""

    def from_array(self, grid: NDArray[np.float32]) -> Any:
        """Return an array as a grid."""
