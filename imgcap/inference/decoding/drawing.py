"""Draw captions word by word by the model's own probabilities. The result is deterministic, since the seed is fixed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgcap.inference.decoding.search import Hypothesis
from imgcap.inference.engines.engine import Engine

BLOCK = 64  # words


@dataclass(frozen=True)
class DrawingOptions:
    """How captions are drawn.

    temperatures: one for each caption; it divides the log-probabilities before they are normalised again.
    max_words: tokens after which a caption is cut off, including the end token.
    min_words: tokens before a caption may end.
    suppress_tokens: ids that no caption contains.
    start, end: ids of the tokens that a caption begins and ends with.
    seed: of the random numbers, which are the same for every image, so that the rest of the batch changes nothing.
    """

    temperatures: tuple[float, ...]
    max_words: int
    start: int
    end: int
    min_words: int = 0
    suppress_tokens: tuple[int, ...] = ()
    seed: int = 0


def draw(engine: Engine[Any], grid: Any, pictures: int, options: DrawingOptions) -> list[list[Hypothesis]]:
    """Draw captions of images.

    Args:
        engine: computes the probabilities.
        grid: (B, P, C) of that engine.
        pictures: B.
        options: how to draw; each image gets one caption for each temperature.

    Returns:
        For each image its captions in the order of the temperatures, including those that were cut off. Their
        log-probability and their score are under the unaltered model, without temperature or suppression.
    """
    count = len(options.temperatures)
    # Every image uses the same random numbers, all drawn here: a caption never depends on the rest of the batch.
    uniform = np.random.default_rng(options.seed).random((options.max_words, count), np.float32)
    tokens = np.full((pictures, count, options.max_words), options.end)
    lengths = np.full((pictures, count), options.max_words)
    totals = np.zeros((pictures, count))
    temperature = np.array(options.temperatures, np.float32)
    # (B', m): the captions in the rows of the state. Ended ones stay only to keep the counts of all images equal.
    picture, caption = np.indices((pictures, count))
    # All captions of an image are equal before the first word, so one row computes it.
    logarithms, state = engine.step(np.full(pictures, options.start), engine.start(grid, 1))
    logarithms, state = logarithms[picture.ravel()], engine.select(state, picture.ravel())
    for place in range(options.max_words):
        who, which = picture.ravel(), caption.ravel()
        rows = np.arange(len(who))
        tempered = logarithms / temperature[which, None]
        tempered[:, options.suppress_tokens] = -np.inf
        if place < options.min_words:
            tempered[:, options.end] = -np.inf
        words = _draw(tempered, uniform[place, which])
        running = lengths[who, which] == options.max_words
        tokens[who, which, place] = np.where(running, words, tokens[who, which, place])
        totals[who, which] += np.where(running, logarithms[rows, words], 0)
        ended = running & (words == options.end)
        lengths[who[ended], which[ended]] = place + 1
        if place + 1 == options.max_words:
            break
        state, words, picture, caption = _compact(engine, state, words, picture, caption, running & ~ended)
        if not len(words):
            break
        logarithms, state = engine.step(words, state)
    return [
        [
            Hypothesis(tuple(tokens[p, c, : lengths[p, c]].tolist()), float(totals[p, c]), float(totals[p, c]))
            for c in range(count)
        ]
        for p in range(pictures)
    ]


def _draw(logarithms: NDArray[np.float32], uniform: NDArray[np.float32]) -> NDArray[np.int64]:
    """Draw a word for each row (N, V) by its probabilities, by inversion of uniform numbers (N,) in [0, 1).

    A block of words is drawn first, and then one of its words, which takes fewer sums than a draw from all words. The
    log-probabilities are overwritten.
    """
    rows, words = logarithms.shape
    logarithms -= logarithms.max(1, keepdims=True)
    likelihood = np.exp(logarithms, out=logarithms)
    starts = np.arange(0, words, BLOCK)
    blocks = np.add.reduceat(likelihood, starts, 1, np.float64)
    block, rest = _invert(blocks, uniform.astype(np.float64))
    places = starts[block, None] + np.arange(BLOCK)
    inside = likelihood[np.arange(rows)[:, None], np.minimum(places, words - 1)]
    word, _ = _invert(np.where(places < words, inside, 0), rest)
    return np.asarray(starts[block] + word)


def _invert(
    likelihood: NDArray[np.floating[Any]], uniform: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the place in each row (N, K) that a number in [0, 1) selects, and its position there, in [0, 1)."""
    cumulative = likelihood.cumsum(1, dtype=np.float64)
    wanted = uniform * cumulative[:, -1]
    # Strictly greater, so that a place of probability zero is never drawn.
    place = (cumulative > wanted[:, None]).argmax(1)
    rows = np.arange(len(place))
    below = np.where(place > 0, cumulative[rows, place - 1], 0)
    inside = (wanted - below) / (cumulative[rows, place] - below)
    return place, np.minimum(inside, np.nextafter(1, 0))


def _compact(
    engine: Engine[Any],
    state: Any,
    words: NDArray[np.int64],
    picture: NDArray[np.int64],
    caption: NDArray[np.int64],
    going: NDArray[np.bool_],
) -> tuple[Any, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Drop images whose captions have all ended, and as many ended captions of the others as all of them have."""
    count = picture.shape[1]
    going = going.reshape(picture.shape)
    left = going.sum(1)
    kept = np.flatnonzero(left)
    if not len(kept):
        return state, words[:0], picture, caption
    if left.min() and left.max() == count:
        return state, words, picture, caption
    order = np.argsort(~going[kept], 1, kind="stable")[:, : left.max()]
    rows = (kept[:, None] * count + order).ravel()
    state = engine.select(state, rows, None if len(kept) == len(left) else kept)
    return state, words[rows], picture[kept[:, None], order], caption[kept[:, None], order]
