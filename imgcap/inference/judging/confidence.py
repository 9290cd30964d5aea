"""Turn what is known of a caption into a confidence.

A logistic curve maps one value of a caption to a share from 0 to 1. If the captioner predicts n-grams from the image
(`expected_ngrams`), the value is the CIDEr-D that these let expect. Otherwise it is the probability
per token, the geometric mean over the caption's tokens. Each length of caption has a curve. The alternatives of each
length have another one, which also takes the value of the caption shown beside them: if that is low, the image is
difficult. The curves are in the model's confidence.json; `imgcap.evaluation.confidence` fits them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgcap.reading import Length

PROBABILITY, LOG_PROBABILITY, EXPECTED_CIDER = "probability", "log-probability", "expected CIDEr-D"


def alternatives_curve(length: Length) -> str:
    """Return the name of the curve for alternatives of a length; that for captions is named like the length."""
    return f"{length} alternatives"


@dataclass(frozen=True)
class Curve:
    """The share of captions that are good: 1 / (1 + exp(-(slope * x + caption_slope * y + intercept))).

    slope, caption_slope, intercept: parameters of the curve.
    of: the meaning of x (for a caption) and y (for the caption shown beside it). PROBABILITY is the geometric mean over
        the tokens; LOG_PROBABILITY is its logarithm, as in files without the field; EXPECTED_CIDER is 0-10.
    """

    slope: float
    intercept: float
    caption_slope: float = 0.0
    of: str = PROBABILITY

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> "Curve":
        """Return a curve of confidence.json; raise ValueError if another version of imgcap wrote it."""
        of = fields.get("of", LOG_PROBABILITY)
        if of not in (PROBABILITY, LOG_PROBABILITY, EXPECTED_CIDER):
            raise ValueError(f"A curve of {of!r} is unknown.")
        slope, intercept, caption = fields["slope"], fields["intercept"], fields.get("caption_slope", 0)
        return cls(float(slope), float(intercept), float(caption), of)

    def confidence(self, value: float, shown: float) -> float:
        """Return the confidence, 0-1, of a caption.

        Args:
            value: its expected CIDEr-D for EXPECTED_CIDER, otherwise its mean log-probability per token.
            shown: the same of the caption that is shown beside it, or of itself.
        """
        return float(self.confidences(np.array(value), np.array(shown)))

    def confidences(self, values: NDArray[np.float64], shown: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the confidence of each of several captions."""
        own, others = (np.exp(x) if self.of == PROBABILITY else x for x in (values, shown))
        return logistic(self.slope * own + self.caption_slope * others + self.intercept)


def logistic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-x)) without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))
