"""Compute the log-probability and the attention of given captions under an engine's model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgcap.inference.engines.engine import Engine
from imgcap.inference.files import pad


def score(
    engine: Engine[Any], grid: Any, tokens: Sequence[Sequence[Sequence[int]]], start: int
) -> list[NDArray[np.float64]]:
    """Return the log-probabilities of captions, computed together in as many steps as the longest has tokens.

    Args:
        engine: computes the probabilities.
        grid: (B, P, C) of that engine.
        tokens: the captions of each of the B images, without the start token, with the end token.
        start: id of the start token.

    Returns:
        For each image its captions' log-probabilities: natural logarithms, summed over tokens, at most 0.
    """
    most = max(map(len, tokens))
    # The engine needs equally many captions per image; the added empty captions have the probability 1.
    padded = pad([row for rows in tokens for row in (*rows, *[()] * (most - len(rows)))], -1)
    sums = np.zeros(len(padded))
    words = np.full(len(padded), start)
    state = engine.start(grid, most)
    rows = np.arange(len(padded))
    for column in padded.T:
        logarithms, state = engine.step(words, state)
        counts = column >= 0
        words = np.where(counts, column, start)
        sums += np.where(counts, logarithms[rows, words], 0)
    return [sums[i * most : i * most + len(own)] for i, own in enumerate(tokens)]


def attend(engine: Engine[Any], grid: Any, tokens: Sequence[int], start: int) -> NDArray[np.float32] | None:
    """Return the decoder's attention for each word of a caption of one image.

    Args:
        engine: computes the weights.
        grid: (1, P, C) of that engine.
        tokens: T ids, without the start token.
        start: id of the start token.

    Returns:
        (T, P), each row summing to 1; None if the decoder has no attention.
    """
    state = engine.start(grid, 1)
    rows = []
    for word in (start, *tokens[:-1]):
        _, state = engine.step(np.array([word]), state)
        looked = engine.attention(state)
        if looked is None:
            return None
        rows.append(looked[0])
    return np.stack(rows)
