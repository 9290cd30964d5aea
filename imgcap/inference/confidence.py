"""Score captions by how likely the model finds them, and turn that score into a confidence.

A caption's mean log-probability per token is mapped to a share from 0 to 1 by a logistic curve of two parameters. Each
length of caption has a curve, and so have the alternatives of each length, since a search and a draw find captions of
different quality at the same probability. The curves are in the model's confidence.json; those of captions of normal
length also in its config.json. `imgcap.evaluation.confidence` fits them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgcap.inference.engine import Engine
from imgcap.inference.files import Description
from imgcap.inference.scoring import score
from imgcap.reading import Length


def mean_log_probabilities(
    engine: Engine[Any], description: Description, grid: Any, captions: Sequence[Sequence[str]]
) -> list[NDArray[np.float64]]:
    """Return each caption's log-probability under the unaltered model, divided by its number of tokens.

    The end token counts as a token.

    Args:
        engine: computes the probabilities.
        description: of the engine's captioner; encodes the captions.
        grid: (B, P, C) of the engine.
        captions: for each of the B images its captions, at least one in all.

    Returns:
        For each image natural logarithms, at most 0.
    """
    options = description.search
    tokens = [[(*ids, options.end) for ids in description.vocabulary.encode(texts)] for texts in captions]
    sums = score(engine, grid, tokens, options.start)
    return [total / np.array([len(row) for row in rows]) for total, rows in zip(sums, tokens, strict=True)]


def alternatives_curve(length: Length) -> str:
    """Return the name of the curve for alternatives of a length; that for captions is named like the length."""
    return f"{length} alternatives"


def confidence(slope: float, intercept: float, log_probability: float) -> float:
    """Return the share of captions with this mean log-probability that are good, 0-1, by a calibrated curve."""
    return float(logistic(np.array(log_probability), slope, intercept))


def logistic(log_probabilities: NDArray[np.float64], slope: float, intercept: float) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-(slope * x + intercept))) for each log-probability x, without overflow."""
    return np.asarray(0.5 * (1 + np.tanh((slope * log_probabilities + intercept) / 2)))
