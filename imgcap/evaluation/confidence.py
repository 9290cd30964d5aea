"""Calibrate a captioner's confidence, and measure how reliable it is.

A caption is good when people say much the same: its CIDEr-D against the image's references is at least GOOD. The share
of good captions is fitted to the expected CIDEr-D, or without one to the probability per token, with Platt's method
(1999, "Probabilistic Outputs for Support Vector Machines"): a logistic curve and smoothed targets. It is fitted on the
even rows of the validation split and judged on the odd rows, by the expected calibration error (Naeini et al., 2015,
AAAI) over bins with equally many captions.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from imgcap.errors import InputError
from imgcap.inference.judging.confidence import PROBABILITY, Curve

GOOD = 0.5  # least CIDEr-D of a good caption
BINS = 10
MIN_IMAGES = 100  # with fewer, the fitted curve would be too uncertain to show anybody


def fit(
    values: NDArray[np.float64],
    good: NDArray[np.bool_],
    shown: NDArray[np.float64] | None = None,
    of: str = PROBABILITY,
) -> Curve:
    """Return Platt's logistic curve.

    No slope is negative: a better value must not get a lower confidence. If the data say otherwise, the variable
    with a negative slope is left out; without any variable the curve is flat, at the share of good captions.

    Args:
        values: expected CIDEr-D of each caption for EXPECTED_CIDER, otherwise its mean log-probability, shape (n,).
        good: whether each caption is good, shape (n,).
        shown: values of the caption shown beside each, if they are alternatives.
        of: PROBABILITY or EXPECTED_CIDER.
    """
    positive, negative = int(good.sum()), int((~good).sum())
    targets = np.where(good, (positive + 1) / (positive + 2), 1 / (negative + 2))
    features = np.column_stack([values] if shown is None else [values, shown])
    if of == PROBABILITY:
        features = np.exp(features)
    slopes, intercept = _fit_slopes(features, targets)
    return Curve(slopes[0], intercept, 0.0 if shown is None else slopes[1], of)


def _fit_slopes(features: NDArray[np.float64], targets: NDArray[np.float64]) -> tuple[list[float], float]:
    """Return the slope of each column of features (n, k), none below 0, and the intercept."""
    slopes = np.zeros(features.shape[1])
    centres, spreads = features.mean(0), features.std(0)
    spreads = np.where(spreads > 1e-6, spreads, 1.0)  # otherwise all values are equal, apart from rounding
    scaled = (features - centres) / spreads
    left = np.arange(features.shape[1])
    while len(left):
        # A soft target t is one positive example of weight t and one negative example of weight 1 - t.
        classes, weights = np.repeat([1, 0], len(targets)), np.concatenate([targets, 1 - targets])
        curve = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
        curve.fit(np.vstack([scaled[:, left]] * 2), classes, sample_weight=weights)
        found = curve.coef_[0]
        if (found > 0).all():
            slopes[left] = found / spreads[left]
            return slopes.tolist(), float(curve.intercept_[0] - slopes @ centres)
        left = np.delete(left, found.argmin())
    share = float(targets.mean())
    return slopes.tolist(), float(np.log(share / (1 - share)))


def reliability(confidences: NDArray[np.float64], good: NDArray[np.bool_], bins: int = BINS) -> dict[str, Any]:
    """Return how far confidences are from the shares of good captions.

    Args:
        confidences: 0-1, shape (n,).
        good: whether each caption is good, shape (n,).
        bins: number of bins with equally many captions, in the order of their confidence.

    Returns:
        "ece", the expected calibration error: the mean over captions of the distance between their bin's confidence
        and its share of good captions; "ece_by_chance", the value to expect from as many captions if every confidence
        were exactly right; "bins", a list of {"n", "confidence", "share"} in ascending order of confidence.
    """
    parts = [part for part in np.array_split(np.argsort(confidences, kind="stable"), bins) if len(part)]
    rows = [(len(part), float(confidences[part].mean()), float(good[part].mean())) for part in parts]
    # A share of n draws with chances p is off by about sqrt(2 / pi * sum p (1 - p)) / n on average.
    chance = [float(np.sqrt(2 / np.pi * (confidences[part] * (1 - confidences[part])).sum())) for part in parts]
    return {
        "ece": sum(n * abs(mean - share) for n, mean, share in rows) / len(good),
        "ece_by_chance": sum(chance) / len(good),
        "bins": [{"n": n, "confidence": mean, "share": share} for n, mean, share in rows],
    }


def calibrate(
    values: NDArray[np.float64],
    good: NDArray[np.bool_],
    fitted: NDArray[np.bool_] | None = None,
    shown: NDArray[np.float64] | None = None,
    of: str = PROBABILITY,
) -> dict[str, Any]:
    """Fit the curve on one half of the captions and judge it on the other.

    Args:
        values: as for `fit`.
        good: whether each caption is good, shape (n,).
        fitted: which captions the curve is fitted on, shape (n,); by default those of even rows.
        shown: as for `fit`.
        of: as for `fit`.

    Returns:
        The fields of `Curve`; "fitted_on" and "n", the captions in either half; and of the half that is judged "share"
        (of good captions), "auc" (the chance that a good caption has a higher confidence than another; None if all or
        none are good), and what `reliability` returns.

    Raises:
        InputError: there are fewer than MIN_IMAGES captions.
    """
    if len(good) < MIN_IMAGES:
        raise InputError(f"Confidence needs at least {MIN_IMAGES} captions to be calibrated on, not {len(good)}.")
    half = np.arange(len(good)) % 2 == 0 if fitted is None else fitted
    curve = fit(values[half], good[half], None if shown is None else shown[half], of)
    beside = values if shown is None else shown
    confidences, answers = curve.confidences(values[~half], beside[~half]), good[~half]
    mixed = answers.any() and not answers.all()
    return {
        **asdict(curve), "fitted_on": int(half.sum()), "n": len(answers), "share": float(answers.mean()),
        "auc": float(roc_auc_score(answers, confidences)) if mixed else None, **reliability(confidences, answers),
    }  # fmt: skip


def save_calibration(folder: Path, report: dict[str, Any]) -> None:
    """Write a calibration into the folder's confidence.json, and remove an older curve from its config.json.

    Args:
        folder: of a captioner.
        report: the result of `calibrate`.
    """
    config = folder / "config.json"
    older = {"confidence_slope": None, "confidence_intercept": None}
    written = {
        folder / "confidence.json": json.dumps(report, indent=2) + "\n",
        # In the form in which transformers writes a configuration.
        config: json.dumps(json.loads(config.read_text()) | older, indent=2, sort_keys=True) + "\n",
    }
    for file, text in written.items():
        draft = file.with_name(f"{file.name}.{os.getpid()}.tmp")
        draft.write_text(text)
        draft.replace(file)
