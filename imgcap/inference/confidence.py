"""Score captions by how likely the model finds them, and turn that score into a confidence.

A caption's mean log-probability per token is mapped to a share from 0 to 1 by a logistic curve, whose two parameters
live in the model's config.json. `imgcap.evaluation.confidence` fits them.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers.modeling_outputs import BaseModelOutput

from imgcap.model import ImgcapConfig, ImgcapForImageCaptioning, ImgcapProcessor


@torch.inference_mode()
def mean_log_probabilities(
    model: ImgcapForImageCaptioning, processor: ImgcapProcessor, grid: Tensor, captions: Sequence[str]
) -> NDArray[np.float64]:
    """Return each caption's log-probability under the unaltered model, divided by its number of tokens.

    The end token counts as a token. The score of a beam search cannot be used instead: it belongs to a distribution
    from which some words have been removed.

    Args:
        model: in evaluation mode.
        processor: encodes the captions.
        grid: (B, P, C), the encoder's output for the images.
        captions: n captions for each image, those of one image next to each other.

    Returns:
        Natural logarithms, shape (n * B,), at most 0.
    """
    ids = processor.tokenizer(list(captions), return_attention_mask=False)["input_ids"]
    rows = [torch.tensor([*row[1:], model.config.eos_token_id]) for row in ids]
    labels = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100).to(grid.device)
    logits = model(encoder_outputs=BaseModelOutput(last_hidden_state=grid), labels=labels).logits.float()
    losses = cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    return np.asarray(-(losses.sum(1) / (labels != -100).sum(1)).double().cpu().numpy())


def confidence(config: ImgcapConfig, log_probability: float) -> float | None:
    """Return the share of captions with this mean log-probability that are good, 0-1; None without a calibration."""
    if config.confidence_slope is None or config.confidence_intercept is None:
        return None
    return float(logistic(np.array(log_probability), config.confidence_slope, config.confidence_intercept))


def logistic(log_probabilities: NDArray[np.float64], slope: float, intercept: float) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-(slope * x + intercept))) for each log-probability x, without overflow."""
    return np.asarray(0.5 * (1 + np.tanh((slope * log_probabilities + intercept) / 2)))
