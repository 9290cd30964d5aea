"""How sure the captioner is of a caption, in numbers that mean what they say.

A caption's mean log-probability per token is mapped to the chance that people would say much the same: that its CIDEr-D
against the picture's references is at least GOOD. The map is Platt's (1999, "Probabilistic Outputs for Support Vector
Machines"): a logistic curve of two parameters, with his smoothed targets. It is fitted on the even rows of the
validation split and judged on the odd ones, by the expected calibration error (Naeini et al., 2015, AAAI) over bins of
equally many captions. The two parameters live in the model's config.json.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from transformers.modeling_outputs import BaseModelOutput

from imgcap.errors import InputError
from imgcap.hub.card import with_confidence
from imgcap.model import ImgcapConfig, ImgcapForImageCaptioning, ImgcapProcessor

if TYPE_CHECKING:
    import datasets

GOOD = 0.5  # the CIDEr-D of a caption that counts as what people say
BINS = 10
MIN_PICTURES = 100  # fewer say too little to put a number on a caption


@torch.inference_mode()
def mean_log_probabilities(
    model: ImgcapForImageCaptioning, processor: ImgcapProcessor, grid: Tensor, captions: Sequence[str]
) -> NDArray[np.float64]:
    """Each caption's log-probability under the model as it is, divided by its tokens, the end token among them.

    The score of a beam search will not do: it is of a distribution from which words have been struck out.

    Args:
        model: in evaluation mode.
        processor: knows the captions' words.
        grid: (B, P, C), the encoder's output for the pictures.
        captions: n captions a picture, those of a picture next to each other.

    Returns:
        Natural logarithms, shape (n * B,), at most 0.
    """
    ids = processor.tokenizer(list(captions), return_attention_mask=False)["input_ids"]
    rows = [torch.tensor([*row[1:], model.config.eos_token_id]) for row in ids]
    labels = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)
    logits = model(encoder_outputs=BaseModelOutput(last_hidden_state=grid), labels=labels).logits.float()
    losses = cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    return np.asarray(-(losses.sum(1) / (labels != -100).sum(1)).double().numpy())


def confidence(config: ImgcapConfig, log_probability: float) -> float | None:
    """The share of captions of this mean log-probability that are good, 0-1; None where `config` is uncalibrated."""
    if config.confidence_slope is None or config.confidence_intercept is None:
        return None
    return float(logistic(np.array(log_probability), config.confidence_slope, config.confidence_intercept))


def logistic(log_probabilities: NDArray[np.float64], slope: float, intercept: float) -> NDArray[np.float64]:
    """1 / (1 + exp(-(slope * x + intercept))), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh((slope * log_probabilities + intercept) / 2)))


def fit(log_probabilities: NDArray[np.float64], good: NDArray[np.bool_]) -> tuple[float, float]:
    """Platt's slope and intercept.

    The slope is never negative: a likelier caption is never the less sure one. Where the data say otherwise the best
    curve that is not falling is the flat one, at the share of good captions.

    Args:
        log_probabilities: mean log-probability of each caption, shape (n,).
        good: whether it is good, shape (n,).
    """
    many, few = int(good.sum()), int((~good).sum())
    targets = np.where(good, (many + 1) / (many + 2), 1 / (few + 2))
    centre, spread = float(log_probabilities.mean()), float(log_probabilities.std())
    spread = spread if spread > 1e-6 else 1.0  # all alike, but for rounding
    scaled, wanted = torch.from_numpy((log_probabilities - centre) / spread), torch.from_numpy(targets)
    line = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([line], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = binary_cross_entropy_with_logits(line[0] * scaled + line[1], wanted)
        value.backward()
        return value

    optimizer.step(loss)
    slope, intercept = line.tolist()
    if slope <= 0:
        share = float(targets.mean())
        return 0.0, float(np.log(share / (1 - share)))
    return slope / spread, intercept - slope * centre / spread


def reliability(confidences: NDArray[np.float64], good: NDArray[np.bool_], bins: int = BINS) -> dict[str, Any]:
    """How far confidences are from what they promise.

    Args:
        confidences: 0-1, shape (n,).
        good: whether each caption is good, shape (n,).
        bins: into how many parts of equally many captions, by confidence.

    Returns:
        "ece", the mean over captions of their bin's distance between mean confidence and share of good ones;
        "ece_by_chance", what that would come to on so many captions if every confidence were exactly right; "bins", of
        each its "n", "confidence" and "share", ascending.
    """
    parts = [part for part in np.array_split(np.argsort(confidences, kind="stable"), bins) if len(part)]
    rows = [(len(part), float(confidences[part].mean()), float(good[part].mean())) for part in parts]
    # A share of n draws with chances p is off by sqrt(2 / pi * sum p (1 - p)) / n on average, near enough.
    chance = [float(np.sqrt(2 / np.pi * (confidences[part] * (1 - confidences[part])).sum())) for part in parts]
    return {
        "ece": sum(n * abs(mean - share) for n, mean, share in rows) / len(good),
        "ece_by_chance": sum(chance) / len(good),
        "bins": [{"n": n, "confidence": mean, "share": share} for n, mean, share in rows],
    }


def calibrate(log_probabilities: NDArray[np.float64], good: NDArray[np.bool_]) -> dict[str, Any]:
    """Fit on the even rows, judge on the odd ones.

    Returns:
        "slope", "intercept", "fitted_on" and "n" (captions of either half), then of the second half "share" (of good
        captions), "auc" (the chance that a good one is surer than another, None where there is no such pair), and what
        `reliability` returns.

    Raises:
        InputError: fewer than MIN_PICTURES captions.
    """
    if len(good) < MIN_PICTURES:
        raise InputError(f"Confidence needs at least {MIN_PICTURES} captions to be calibrated on, not {len(good)}.")
    slope, intercept = fit(log_probabilities[::2], good[::2])
    held_out, answers = log_probabilities[1::2], good[1::2]
    return {
        "slope": slope, "intercept": intercept, "fitted_on": len(good[::2]), "n": len(answers),
        "share": float(answers.mean()), "auc": _auc(held_out, answers),
        **reliability(logistic(held_out, slope, intercept), answers),
    }  # fmt: skip


def _auc(scores: NDArray[np.float64], good: NDArray[np.bool_]) -> float | None:
    from imgcap.blur.calibration import auc

    return auc(scores[good], scores[~good]) if good.any() and not good.all() else None


def calibrate_captioner(folder: Path, dataset: "datasets.Dataset", captions: Sequence[str]) -> dict[str, Any]:
    """Calibrate the captioner in `folder`, into its config.json, confidence.json and card.

    Args:
        folder: of a finished captioner.
        dataset: the validation split.
        captions: what the captioner wrote of it by default, one a row.

    Returns:
        What `calibrate` returns; `confidence.json` in the folder holds the same.

    Raises:
        InputError: `folder` is none that holds a captioner, or there are fewer than MIN_PICTURES rows.
    """
    from imgcap.data import loading as data
    from imgcap.evaluation.metrics import cider_of_each
    from imgcap.evaluation.run import picture_batches
    from imgcap.inference.checkpoint import load_captioner

    model, processor = load_captioner(str(folder))
    scores: list[NDArray[np.float64]] = []
    with torch.inference_mode():
        for batch in picture_batches(dataset, processor):
            grid = model.encoder(batch["pixel_values"]).last_hidden_state
            first = sum(map(len, scores))
            scores.append(mean_log_probabilities(model, processor, grid, captions[first : first + len(grid)]))
    good = cider_of_each(captions, data.references(dataset)) >= GOOD
    report = calibrate(np.concatenate(scores), good)
    save(folder, report)
    return report


def save(folder: Path, report: dict[str, Any]) -> None:
    """Put a calibration into the folder: its parameters in config.json, the whole in confidence.json and the card."""
    path, card = folder / "config.json", folder / "README.md"
    parameters = {"confidence_slope": report["slope"], "confidence_intercept": report["intercept"]}
    written = {folder / "confidence.json": json.dumps(report, indent=2) + "\n"}
    if card.is_file():
        written[card] = with_confidence(card.read_text(), report)
    # In the form in which transformers writes a configuration, and last: it is what the others speak of.
    written[path] = json.dumps(json.loads(path.read_text()) | parameters, indent=2, sort_keys=True) + "\n"
    for file, text in written.items():
        draft = file.with_name(f"{file.name}.{os.getpid()}.tmp")
        draft.write_text(text)
        draft.replace(file)
