"""The interface between decoding and the library that computes the model; `OnnxEngine` and `TorchEngine` implement it.

Shapes: B images, n captions per image, N = n * B rows (the rows of an image are adjacent), P grid cells, C encoder
channels, E channels of the map that its last block reads, V words. Numbers cross this interface as numpy arrays; a grid
and a state belong to the engine that made them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

State = TypeVar("State")


@dataclass(frozen=True)
class Features:
    """Pooled feature maps of B images, float32.

    grid: (B, C), mean of the grid.
    early: (B, E), mean of the feature map that the encoder's last block reads. This map has kept more of what the
        captions of the training images did not need.
    peaks: (B, E), maximum of that map.
    """

    grid: NDArray[np.float32]
    early: NDArray[np.float32]
    peaks: NDArray[np.float32]

    @property
    def maps(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """The three arrays, in the order of the fields."""
        return self.grid, self.early, self.peaks

    @classmethod
    def concatenate(cls, parts: Sequence["Features"]) -> "Features":
        """Return the features of all images of the parts, in order; at least one part."""
        return cls(*map(np.concatenate, zip(*(part.maps for part in parts), strict=True)))

    def __len__(self) -> int:
        return len(self.grid)

    def __getitem__(self, pictures: Any) -> "Features":
        """Return the features of some of the images: a slice, or a list of indices."""
        return Features(*(one[pictures] for one in self.maps))


@dataclass(frozen=True)
class Encoding:
    """Encoded images, as many as its length.

    grid: (B, P, C) of the engine, which the decoder reads.
    features: of the same images; None if only the grid is known, which is enough for captions without predicted
        n-grams.
    """

    grid: Any
    features: Features | None = None

    def __len__(self) -> int:
        return len(self.grid)

    def __getitem__(self, pictures: Sequence[int]) -> "Encoding":
        """Return the encoding of some of the images."""
        rows = list(pictures)
        return Encoding(self.grid[rows], None if self.features is None else self.features[rows])


class Engine(Protocol[State]):
    """Encodes images and computes the probabilities of the next word.

    description: the library, precision and device, as `imgcap.inference.engines.choice` reports them.
    lanes: number of threads that may usefully call at once.
    together: largest useful number of images in a call; larger batches are hardly faster per image.
    """

    description: str
    lanes: int
    together: int

    def encode(self, pixels: NDArray[np.float32], *, alone: bool = True) -> Encoding:
        """Encode normalised pixels (B, 3, S, S).

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
