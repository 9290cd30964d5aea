"""Calibrate a captioner's confidence, and measure how reliable it is.

A caption is good when people say much the same: its CIDEr-D against the image's references is at least GOOD. The share
of good captions is fitted to the mean log-probability per token with Platt's method (1999, "Probabilistic Outputs for
Support Vector Machines"): a logistic curve with two parameters and smoothed targets. It is fitted on the even rows of
the validation split and judged on the odd rows, by the expected calibration error (Naeini et al., 2015, AAAI) over bins
with equally many captions.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from imgcap.errors import InputError
from imgcap.inference.confidence import logistic

GOOD = 0.5  # least CIDEr-D of a good caption
BINS = 10
MIN_IMAGES = 100  # with fewer, the fitted curve would be too uncertain to show anybody


def fit(log_probabilities: NDArray[np.float64], good: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the slope and intercept of Platt's logistic curve.

    The slope is never negative: a likelier caption must not get a lower confidence. If the data say otherwise, the best
    curve that does not fall is the flat one, at the share of good captions.

    Args:
        log_probabilities: mean log-probability of each caption, shape (n,).
        good: whether each caption is good, shape (n,).
    """
    positive, negative = int(good.sum()), int((~good).sum())
    targets = np.where(good, (positive + 1) / (positive + 2), 1 / (negative + 2))
    centre, spread = float(log_probabilities.mean()), float(log_probabilities.std())
    spread = spread if spread > 1e-6 else 1.0  # all are equal but for rounding
    scaled = ((log_probabilities - centre) / spread)[:, None]
    # A soft target t is one positive example of weight t and one negative example of weight 1 - t.
    classes = np.repeat([1, 0], len(targets))
    curve = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    curve.fit(np.vstack([scaled, scaled]), classes, sample_weight=np.concatenate([targets, 1 - targets]))
    slope, intercept = float(curve.coef_[0, 0]), float(curve.intercept_[0])
    if slope <= 0:
        share = float(targets.mean())
        return 0.0, float(np.log(share / (1 - share)))
    return slope / spread, intercept - slope * centre / spread


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
    log_probabilities: NDArray[np.float64], good: NDArray[np.bool_], fitted: NDArray[np.bool_] | None = None
) -> dict[str, Any]:
    """Fit the curve on one half of the captions and judge it on the other.

    Args:
        log_probabilities: mean log-probability of each caption, shape (n,).
        good: whether each caption is good, shape (n,).
        fitted: which captions the curve is fitted on, shape (n,); by default those of even rows.

    Returns:
        "slope" and "intercept"; "fitted_on" and "n", the captions in either half; and of the half that is judged
        "share" (of good captions), "auc" (the chance that a good caption has a higher confidence than another; None if
        all or none are good), and what `reliability` returns.

    Raises:
        InputError: there are fewer than MIN_IMAGES captions.
    """
    if len(good) < MIN_IMAGES:
        raise InputError(f"Confidence needs at least {MIN_IMAGES} captions to be calibrated on, not {len(good)}.")
    half = np.arange(len(good)) % 2 == 0 if fitted is None else fitted
    slope, intercept = fit(log_probabilities[half], good[half])
    held_out, answers = log_probabilities[~half], good[~half]
    mixed = answers.any() and not answers.all()
    return {
        "slope": slope, "intercept": intercept, "fitted_on": int(half.sum()), "n": len(answers),
        "share": float(answers.mean()), "auc": float(roc_auc_score(answers, held_out)) if mixed else None,
        **reliability(logistic(held_out, slope, intercept), answers),
    }  # fmt: skip


def save_calibration(folder: Path, report: dict[str, Any]) -> None:
    """Write a calibration's parameters into the folder's config.json, and all of it into confidence.json.

    Args:
        folder: of a captioner.
        report: what `calibrate` returned.
    """
    config = folder / "config.json"
    parameters = {"confidence_slope": report["slope"], "confidence_intercept": report["intercept"]}
    # config.json is replaced last, because it alone changes what the captioner answers.
    written = {
        folder / "confidence.json": json.dumps(report, indent=2) + "\n",
        # In the form in which transformers writes a configuration.
        config: json.dumps(json.loads(config.read_text()) | parameters, indent=2, sort_keys=True) + "\n",
    }
    for file, text in written.items():
        draft = file.with_name(f"{file.name}.{os.getpid()}.tmp")
        draft.write_text(text)
        draft.replace(file)
