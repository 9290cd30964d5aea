"""Compute the caption metrics of COCO: BLEU-1 to BLEU-4, METEOR, ROUGE-L and CIDEr-D over Penn Treebank tokens.

The numbers equal those of pycocoevalcap (a test compares them); only METEOR needs Java. `imgcap evaluate` prints what
`score` returns. `Bleu`, `Meteor`, `RougeL` and `Cider` are the same metrics as `evaluate.Metric`s, which need no
network and can be combined by `evaluate.combine`.
"""

from imgcap.model import torchvision_ops  # noqa: F401, I001 - must come before evaluate, which imports torchvision

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import evaluate
import numpy as np
from numpy.typing import NDArray
from pycocoevalcap.bleu import bleu_scorer
from pycocoevalcap.rouge import rouge
from scipy.stats import bootstrap

from imgcap.evaluation import meteor
from imgcap.inference.judging.cider import CiderD
from imgcap.errors import InputError
from imgcap.evaluation.ptb import tokenize

Floats = NDArray[np.float64]
_ORDER = 4  # the longest n-gram of BLEU
_BLEU_NAMES = tuple(f"BLEU-{n + 1}" for n in range(_ORDER))
_BATCH = 100  # resamples summed together
METRICS = (*_BLEU_NAMES, "METEOR", "ROUGE-L", "CIDEr")


# Statistics of each image, and the metrics that follow from their sums


@dataclass(frozen=True)
class _Statistics:
    """Numbers of each image, shape (images, k), and how the metrics of a set of images follow from their sums.

    `combine` takes sums, shape (sets, k), and the number of images in a set, and returns shape (metrics, sets).
    """

    names: tuple[str, ...]
    numbers: Floats
    combine: Callable[[Floats, int], Floats]

    def of(self, sets: NDArray[np.int64]) -> Floats:
        """Return each metric of each set of images, shape (metrics, sets); `sets`, shape (sets, n), holds rows."""
        return self.combine(self.numbers[sets].sum(1), sets.shape[1])

    def scores(self) -> dict[str, float]:
        """Return each metric of all images."""
        values = self.of(np.arange(len(self.numbers))[None])[:, 0]
        return dict(zip(self.names, values.tolist(), strict=True))

    def intervals(self, resamples: int, seed: int) -> dict[str, list[float]]:
        """Return each metric's 95% interval by the bootstrap over images."""
        rows = np.arange(len(self.numbers))

        def statistic(sets: NDArray[np.int64], axis: int) -> Floats:  # noqa: ARG001 - scipy's signature
            return self.of(np.atleast_2d(sets))

        found = bootstrap(
            (rows,), statistic, n_resamples=resamples, batch=_BATCH, vectorized=True, method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval  # fmt: skip
        low, high = np.atleast_1d(found.low), np.atleast_1d(found.high)
        return {name: [float(low[i]), float(high[i])] for i, name in enumerate(self.names)}


def _bleu(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> _Statistics:
    rows = []
    for prediction, captions in zip(predictions, references, strict=True):
        counts = bleu_scorer.cook_test(prediction, bleu_scorer.cook_refs(captions), eff="closest")
        rows.append([*counts["correct"], *counts["guess"], counts["testlen"], counts["reflen"]])
    return _Statistics(_BLEU_NAMES, np.array(rows, dtype=np.float64), _combine_bleu)


def _combine_bleu(sums: Floats, _: int) -> Floats:
    """Return corpus BLEU with pycocoevalcap's tiny constants, which keep it defined if nothing matches."""
    tiny, small = 1e-15, 1e-9
    precisions = (sums[:, :_ORDER] + tiny) / (sums[:, _ORDER : 2 * _ORDER] + small)
    means = np.cumprod(precisions, axis=1) ** (1 / np.arange(1, _ORDER + 1))
    ratio = (sums[:, -2] + tiny) / (sums[:, -1] + small)
    brevity = np.exp(np.minimum(0, 1 - 1 / ratio))
    return np.asarray((means * brevity[:, None]).T)


def _rouge(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> _Statistics:
    scorer = rouge.Rouge()
    values = [scorer.calc_score([p], list(r)) for p, r in zip(predictions, references, strict=True)]
    return _Statistics(("ROUGE-L",), np.array(values)[:, None], _mean)


def _cider(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> _Statistics:
    scorer = CiderD(references)
    values = [scorer.score([p], r)[0] for p, r in zip(predictions, references, strict=True)]
    return _Statistics(("CIDEr",), np.array(values)[:, None], _mean)


def _mean(sums: Floats, images: int) -> Floats:
    return sums.T / images


def _meteor(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> _Statistics:
    numbers = meteor.countable(meteor.statistics(predictions, references))
    return _Statistics(("METEOR",), numbers, lambda sums, _: meteor.from_sums(sums)[None])


_FAMILIES = (_bleu, _meteor, _rouge, _cider)


def score(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    resamples: int = 1000,
    seed: int = 0,
    with_meteor: bool = True,
) -> dict[str, Any]:
    """Return all metrics of a split's captions, with bootstrap intervals.

    Captions are raw text: they are tokenized here. CIDEr takes its document frequencies from these references, so
    the CIDEr of a single image is 0.

    The intervals are the 2.5th and 97.5th percentiles over resamples of the images with replacement. BLEU and METEOR
    are computed from the resample's own summed counts; CIDEr and ROUGE-L are means over it, and CIDEr keeps the
    document frequencies of the split. The intervals show how much another sample of images could change a number, not
    how much another training run could. A single image has no intervals, since all its resamples are the same.

    Args:
        predictions: one caption for each image.
        references: at least one reference caption for each image.
        resamples: resamples of the bootstrap, at least two; 0 for no intervals.
        seed: seed of the resampling.
        with_meteor: false leaves METEOR null and saves Java's start, about fifteen seconds.

    Returns:
        "BLEU-1" to "BLEU-4", "METEOR", "ROUGE-L" (each 0-1) and "CIDEr" (0-10), then "intervals", which holds
        [low, high] under each of those names. METEOR and its interval are None without Java,
        and every interval of a single image is.

    Raises:
        InputError: no captions are given, the numbers of predictions and lists of references differ, or a list is
            empty.
        RuntimeError: METEOR's Java program failed.
    """
    tokenized = _tokenized(predictions, references)
    wanted = [family for family in _FAMILIES if family is not _meteor or (with_meteor and meteor.available())]
    statistics = [family(*tokenized) for family in wanted]
    scores = {name: value for family in statistics for name, value in family.scores().items()}
    intervals: dict[str, list[float]] = {}
    if resamples and len(predictions) > 1:
        for family in statistics:
            intervals |= family.intervals(resamples, seed)
    return {name: scores.get(name) for name in METRICS} | {"intervals": {name: intervals.get(name) for name in METRICS}}


def cider_of_each(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    """Return CIDEr-D of each image's caption, shape (images,), with the mean and the errors of `score`."""
    return _cider(*_tokenized(predictions, references)).numbers[:, 0]


def _tokenized(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    if not len(predictions):
        raise InputError("There are no captions to score; give at least one prediction.")
    if len(predictions) != len(references):
        raise InputError(
            f"There are {len(predictions)} predictions but {len(references)} lists of references; give one list a "
            "prediction."
        )
    for number, captions in enumerate(references):
        if isinstance(captions, str) or not len(captions):
            raise InputError(
                f"The references of image {number} are not a list of captions; give each image at least one."
            )
    return [tokenize(p) for p in predictions], [[tokenize(caption) for caption in r] for r in references]


# The metrics for the evaluate library

_CITATION = """@article{chen2015microsoft,
  title={Microsoft COCO Captions: Data Collection and Evaluation Server},
  author={Chen, Xinlei and Fang, Hao and Lin, Tsung-Yi and Vedantam, Ramakrishna and Gupta, Saurabh and Doll{\\'a}r,
    Piotr and Zitnick, C. Lawrence},
  journal={arXiv:1504.00325},
  year={2015}
}"""


class _CaptionMetric(evaluate.Metric):
    """One family of metrics: predictions are captions, references lists of captions, as raw text."""

    summary: str
    family: Callable[[Sequence[str], Sequence[Sequence[str]]], _Statistics]

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.summary,
            citation=_CITATION,
            inputs_description="predictions: captions; references: for each prediction a list of captions.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Sequence(datasets.Value("string"))}
            ),
        )

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, float | None]:
        return dict(type(self).family(*_tokenized(predictions, references)).scores())


class Bleu(_CaptionMetric):
    """Corpus BLEU-1 to BLEU-4 with the closest reference length, 0-1."""

    summary = "Corpus BLEU-1 to BLEU-4 as COCO's caption evaluation computes them."
    family = staticmethod(_bleu)


class RougeL(_CaptionMetric):
    """Mean ROUGE-L, 0-1."""

    summary = "ROUGE-L as COCO's caption evaluation computes it."
    family = staticmethod(_rouge)


class Cider(_CaptionMetric):
    """Mean CIDEr-D with document frequencies from the references given, 0-10."""

    summary = "CIDEr-D as COCO's caption evaluation computes it."
    family = staticmethod(_cider)


class Meteor(_CaptionMetric):
    """Corpus METEOR, 0-1; None without Java."""

    summary = "METEOR 1.5 as COCO's caption evaluation computes it; null without Java."
    family = staticmethod(_meteor)

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, float | None]:
        if not meteor.available():
            return {"METEOR": None}
        return super()._compute(predictions, references)
