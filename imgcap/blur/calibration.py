"""Find the blur threshold from images, for `imgcap calibrate-blur`.

An image's score is `blur.measure(...).variance`; sharp images should score higher. The area under the ROC curve is the
probability that a sharp image scores above a blurred one (Hanley and McNeil, Radiology 1982). Its interval comes from a
bootstrap over photographs (Efron, 1979), each with all of its blurred copies.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from imgcap.blur import sharpness as blur
from imgcap.blur.content import LONGER_SIDE
from imgcap.blur.degradations import BLURS, HARMLESS
from imgcap.errors import InputError
from imgcap.images.loading import ImageLoader

RESAMPLES = 1000
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """The threshold and its quality on a set of sharp and blurred images."""

    sharp: int  # number of images
    blurred: int
    skipped: int  # files that are not images
    auc: float
    auc_interval: tuple[float, float]  # 95%
    threshold: float  # the highest that refuses at most the given share of sharp images
    false_reject: float  # the share of sharp images that it refuses
    caught: float  # the share of blurred images that it refuses
    refused: dict[str, float]  # the share that it refuses, by kind of image
    roc: list[tuple[float, float, float]]  # threshold, share of sharp refused, share of blurred refused


def auc(sharp: Scores, blurred: Scores) -> float:
    """Return the probability that a sharp image scores above a blurred one; ties count half."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(np.repeat([1, 0], [len(sharp), len(blurred)]), np.concatenate([sharp, blurred])))


def auc_interval(sharp: Scores, blurred: Scores, paired: bool, seed: int = 0) -> tuple[float, float]:
    """Return a 95% bootstrap interval of `auc`; 0 to 1 if either kind has fewer than two photographs.

    Args:
        sharp: (n,) scores.
        blurred: (m, k) scores, one row per photograph. If `paired`, row i belongs to the photograph of `sharp[i]`, and
            both are drawn together.
        paired: whether the blurred images are copies of the sharp ones.
        seed: seed of the resampling.
    """
    from scipy.stats import bootstrap

    def area(first: NDArray[np.int64], second: NDArray[np.int64] | None = None) -> float:
        return auc(sharp[first], blurred[first if second is None else second].ravel())

    if min(len(sharp), len(blurred)) < 2:
        return 0.0, 1.0
    rows = (np.arange(len(sharp)),) if paired else (np.arange(len(sharp)), np.arange(len(blurred)))
    found = bootstrap(
        rows, area, n_resamples=RESAMPLES, vectorized=False, method="percentile", rng=np.random.default_rng(seed)
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def threshold_for(sharp: Scores, false_reject: float) -> float:
    """Return the highest threshold that refuses at most the share `false_reject` of the sharp images."""
    return float(np.sort(sharp)[min(int(false_reject * len(sharp) + 1e-9), len(sharp) - 1)])


def roc(sharp: Scores, blurred: Scores, points: int = 200) -> list[tuple[float, float, float]]:
    """Return (threshold, share of sharp refused, share of blurred refused) for up to `points` scores, ascending."""
    observed = np.unique(np.concatenate([sharp, blurred]))
    chosen = observed[np.unique(np.linspace(0, len(observed) - 1, points).astype(int))]
    return [(float(t), float((sharp < t).mean()), float((blurred < t).mean())) for t in chosen]


def calibrate_folders(
    sharp_folder: Path, blurred_folder: Path, false_reject: float, images: ImageLoader
) -> Calibration:
    """Calibrate on a folder of sharp and one of blurred images. Raises InputError if one has none."""
    sharp, skipped = _scores(sharp_folder, images)
    blurred, more = _scores(blurred_folder, images)
    return _summary(sharp, {"blurred": blurred}, {}, blurred[:, None], skipped + more, false_reject, paired=False)


def calibrate_synthetic(folder: Path, false_reject: float, images: ImageLoader, seed: int = 0) -> Calibration:
    """Calibrate on a folder of sharp photographs and their copies under every kind of synthetic blur.

    Photographs are first shrunk to the working size, so that a strength means the same in each.

    Raises:
        InputError: the folder has no readable image.
    """
    rng = np.random.default_rng(seed)
    kinds = {"sharp": None, **BLURS, **HARMLESS}
    scores: dict[str, list[float]] = {kind: [] for kind in kinds}
    pictures, skipped = _pictures(folder, images)
    for picture in pictures:
        small = at_working_size(picture)
        for kind, degrade in kinds.items():
            scores[kind].append(score(degrade(small, rng) if degrade else small))
    by_kind = {kind: np.array(values) for kind, values in scores.items()}
    blurred = {kind: by_kind[kind] for kind in BLURS}
    harmless = {kind: by_kind[kind] for kind in HARMLESS}
    stacked = np.stack(list(blurred.values()), axis=1)
    return _summary(by_kind["sharp"], blurred, harmless, stacked, len(skipped), false_reject, paired=True)


def at_working_size(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an (H, W, 3) image shrunk so that its longer side is at most `LONGER_SIDE`."""
    height, width = picture.shape[:2]
    scale = LONGER_SIDE / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def score(picture: NDArray[np.uint8]) -> float:
    """Return the number that the verdict compares with the threshold."""
    return blur.measure(picture, 0.0).variance


def _summary(
    sharp: Scores, blurred: dict[str, Scores], harmless: dict[str, Scores], stacked: Scores, skipped: int,
    false_reject: float, paired: bool,
) -> Calibration:  # fmt: skip
    threshold = threshold_for(sharp, false_reject)
    every = stacked.ravel()
    return Calibration(
        sharp=len(sharp),
        blurred=len(every),
        skipped=skipped,
        auc=auc(sharp, every),
        auc_interval=auc_interval(sharp, stacked, paired),
        threshold=threshold,
        false_reject=float((sharp < threshold).mean()),
        caught=float((every < threshold).mean()),
        refused={
            kind: float((values < threshold).mean())
            for kind, values in ({"sharp": sharp} | {f"sharp, {k}": v for k, v in harmless.items()} | blurred).items()
        },
        roc=roc(sharp, every),
    )


def _pictures(folder: Path, images: ImageLoader) -> tuple[Iterator[NDArray[np.uint8]], list[Path]]:
    """Return the readable images below a folder, by name, and a list that fills with the other files."""
    skipped: list[Path] = []

    def read() -> Iterator[NDArray[np.uint8]]:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            try:
                yield images.read_file(path)
            except InputError:
                skipped.append(path)

    return _at_least_one(read(), folder), skipped


def _at_least_one(pictures: Iterator[NDArray[np.uint8]], folder: Path) -> Iterator[NDArray[np.uint8]]:
    first = next(pictures, None)
    if first is None:
        raise InputError(f"There is no readable picture in {folder}: give a folder of photographs.")
    yield first
    yield from pictures


def _scores(folder: Path, images: ImageLoader) -> tuple[Scores, int]:
    pictures, skipped = _pictures(folder, images)
    scores = np.array([score(picture) for picture in pictures])
    return scores, len(skipped)


def check_plot(path: Path) -> None:
    """Raise InputError if no drawing can be written to `path`, before minutes are spent on its content."""
    from matplotlib.figure import Figure

    kinds = sorted(Figure().canvas.get_supported_filetypes())
    if path.suffix[1:].lower() not in kinds:
        raise InputError(f"A drawing is not written as {path.name!r}: end its name in one of .{', .'.join(kinds)}.")
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {str(path.parent)!r} for the drawing: make it first.")


def plot_roc(result: Calibration, path: Path) -> None:
    """Draw the ROC curve and the chosen threshold into an image file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    _, refused_sharp, refused_blurred = zip(*result.roc, strict=True)
    axes.plot(refused_sharp, refused_blurred, color="#0072b2", label=f"AUC {result.auc:.4f}")
    label = f"threshold {result.threshold:.3g}"
    axes.plot(result.false_reject, result.caught, "D", color="#d55e00", fillstyle="none", markersize=10, label=label)
    axes.set(xlabel="sharp pictures refused", ylabel="blurred pictures refused", xlim=(-0.02, 1), ylim=(0, 1.02))
    axes.legend(loc="lower right")
    figure.savefig(path)


def report(result: Calibration) -> str:
    """Return the result as text for people."""
    low, high = result.auc_interval
    lines = [
        f"{result.sharp} sharp and {result.blurred} blurred pictures; {result.skipped} files were no pictures",
        f"AUC        {result.auc:.4f}  (95% interval {low:.4f} to {high:.4f})",
        f"threshold  {result.threshold:.3f}  (IMGCAP_BLUR_THRESHOLD={result.threshold:.3f})",
        f"refused    {result.false_reject:.1%} of sharp, {result.caught:.1%} of blurred",
        *(f"  {share:7.1%}  {kind}" for kind, share in result.refused.items()),
    ]
    return "\n".join(lines)
