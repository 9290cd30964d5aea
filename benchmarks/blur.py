"""Measure the blur check: `python -m benchmarks.blur PHOTOS [options]`.

PHOTOS is a folder of sharp photographs. Every second one by name sets each method's threshold (the highest that refuses
at most 1% of them). The tables show the others: kinds of blur, and what people and programs add to photographs.
`--labelled` adds a folder of real images with a labels.csv (file,label,kind; label sharp or blur) at the same
thresholds; these images influence no choice. `--captions` names a parquet file in Flickr8k's layout (image.path,
caption_0..caption_4) with references for PHOTOS, and adds the effect of the blur check on captions.
"""

import argparse
import csv
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import cv2
import numpy as np
from numpy.typing import NDArray

from imgcap.blur import content, sharpness
from imgcap.blur.additions import ADDITIONS
from imgcap.blur.calibration import at_working_size, auc, auc_interval, score, threshold_for
from imgcap.blur.degradations import BLURS, HARMLESS, Degradation, gaussian, linear_motion, low_light
from imgcap.images.limits import ImageLimits
from imgcap.images.loading import ImageLoader
from imgcap.reading import REASONS
from imgcap.settings import get_settings

read_file = ImageLoader(ImageLimits()).read_file

Image = NDArray[np.uint8]


def grey_of(image: Image) -> NDArray[np.float32]:
    """Return the luma as float."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)


def plain_variance(image: Image) -> float:
    """Return the variance of the Laplacian at native size, as in most tutorials."""
    return float(cv2.Laplacian(grey_of(image), cv2.CV_32F).var())


def whole_denoised(image: Image) -> float:
    """Return the variance over the whole image at one scale, after a Gaussian of sigma 1."""
    return float(cv2.Laplacian(cv2.GaussianBlur(grey_of(at_working_size(image)), (0, 0), 1), cv2.CV_32F).var())


def round_gaussian(image: Image) -> float:
    """Return the 98th percentile of 30 x 30 tiles' variances at one scale, after a Gaussian of sigma 0.5."""
    laplacian = cv2.Laplacian(cv2.GaussianBlur(grey_of(at_working_size(image)), (0, 0), 0.5), cv2.CV_32F)
    rows, columns = (max(1, side // 30) for side in laplacian.shape)
    bands = np.array_split(laplacian, rows)
    return float(np.percentile([tile.var() for band in bands for tile in np.array_split(band, columns, axis=1)], 98))


def tenengrad(image: Image) -> float:
    """Return the mean squared Sobel gradient (Krotkov 1988)."""
    grey = grey_of(image)
    across, down = (cv2.Sobel(grey, cv2.CV_32F, x, 1 - x) for x in (1, 0))
    return float((across**2 + down**2).mean())


def fft_ratio(image: Image) -> float:
    """Return the share of spectral energy above an eighth of the sampling frequency, with the mean removed."""
    grey = grey_of(image)
    energy = np.abs(np.fft.fft2(grey - grey.mean())) ** 2
    y, x = np.meshgrid(*(np.fft.fftfreq(side) for side in grey.shape), indexing="ij")
    return float(energy[np.hypot(x, y) > 1 / 8].sum() / max(energy.sum(), 1e-9))


def modified_laplacian(image: Image) -> float:
    """Return the mean of |Ixx| + |Iyy| (Nayar and Nakagawa 1994)."""
    grey = grey_of(image)
    kernel = np.array([[-1, 2, -1]], np.float32)
    return float((np.abs(cv2.filter2D(grey, -1, kernel)) + np.abs(cv2.filter2D(grey, -1, kernel.T))).mean())


def brenner(image: Image) -> float:
    """Return the mean squared difference two pixels apart, in the larger direction (Brenner et al. 1976)."""
    grey = grey_of(image)
    return float(max(((grey[2:] - grey[:-2]) ** 2).mean(), ((grey[:, 2:] - grey[:, :-2]) ** 2).mean()))


METHODS: dict[str, Callable[[Image], float]] = {
    "imgcap": score,
    "plain Laplacian variance": plain_variance,
    "one scale, sigma 1, whole picture": whole_denoised,
    "tiles, round Gaussian": round_gaussian,
    "Tenengrad": tenengrad,
    "FFT high-frequency ratio": fft_ratio,
    "sum-modified Laplacian": modified_laplacian,
    "Brenner": brenner,
}
Scores = dict[str, dict[str, NDArray[np.float64]]]  # method -> kind -> one score a photograph


def score_photographs(photos: list[Path], changes: dict[str, Degradation], seed: int = 0) -> Scores:
    """Return every method's score of every photograph as it is, under "sharp", and with each change."""
    rng = np.random.default_rng(seed)
    found: dict[str, dict[str, list[float]]] = {method: defaultdict(list) for method in METHODS}
    for path in photos:
        photo = at_working_size(read_file(path))
        copies = {"sharp": photo} | {name: change(photo, rng) for name, change in changes.items()}
        for name, copy in copies.items():
            for method, measure in METHODS.items():
                found[method][name].append(measure(copy))
    return {method: {name: np.array(values) for name, values in kinds.items()} for method, kinds in found.items()}


def thresholds_of(scores: Scores) -> dict[str, float]:
    """Return each method's threshold, fitted on its scores, except the app's, which is the default."""
    fitted = {method: threshold_for(kinds["sharp"], 0.01) for method, kinds in scores.items()}
    print(f"Thresholds fitted on the tuning half: {', '.join(f'{m} {t:.4g}' for m, t in fitted.items())}\n")
    return fitted | {"imgcap": get_settings().blur_threshold}


def print_table(scores: Scores, thresholds: dict[str, float]) -> None:
    """Print AUC and refused share by kind, for imgcap in full and for the other methods beside it."""
    sharp = scores["imgcap"]["sharp"]
    print("| kind | imgcap AUC [95%] | imgcap refused | " + " | ".join(list(METHODS)[1:]) + " | plain, T=100 |")
    print("|---" * (len(METHODS) + 3) + "|")
    for kind, values in scores["imgcap"].items():
        cells = [f"{(values < thresholds['imgcap']).mean():.1%}"]
        if kind in BLURS:
            low, high = auc_interval(sharp, values[:, None], paired=True)
            cells.insert(0, f"{auc(sharp, values):.4f} [{low:.4f}, {high:.4f}]")
        else:
            cells.insert(0, "")
        for method in list(METHODS)[1:]:
            others = scores[method]
            area = f"{auc(others['sharp'], others[kind]):.3f}, " if kind in BLURS else ""
            cells.append(f"{area}{(others[kind] < thresholds[method]).mean():.0%}")
        cells.append(f"{(scores['plain Laplacian variance'][kind] < 100).mean():.0%}")
        print(f"| {kind} | " + " | ".join(cells) + " |")
    print()


PEERS = ("imgcap", "plain Laplacian variance", "tiles, round Gaussian")
STATES: dict[str, Degradation | None] = {"sharp": None, "gaussian 3": gaussian(3), "motion 15": linear_motion(15)}
Errors = dict[tuple[str, str, str], float]  # (kind, state, method) -> score


def score_additions(number: int, path: Path) -> Errors:
    """Return the peers' scores of one photograph in each state with each addition, the same in each state."""
    cv2.setNumThreads(1)
    photo = at_working_size(read_file(path))
    found = {}
    for state, blurring in STATES.items():
        base = photo if blurring is None else blurring(photo, np.random.default_rng(number))
        for index, (kind, add) in enumerate({"nothing": None, **ADDITIONS}.items()):
            copy = base if add is None else add(base, np.random.default_rng((number, index)))
            for method in PEERS:
                seen = copy if method == "imgcap" else copy[..., :3]
                found[kind, state, method] = METHODS[method](seen)
    return found


def print_additions(photos: list[Path], thresholds: dict[str, float], jobs: int) -> None:
    """Print the share of wrong verdicts in each state with frames, lines, noise and other additions."""
    with ProcessPoolExecutor(jobs) as pool:
        scores = list(pool.map(score_additions, range(len(photos)), photos))
    print("| added | " + " | ".join(f"{method}: {', '.join(STATES)}" for method in PEERS) + " |")
    print("|---" * (len(PEERS) + 1) + "|")
    for kind in ("nothing", *ADDITIONS):
        cells = []
        for method in PEERS:
            limit = thresholds[method]
            shares = []
            for state in STATES:
                values = np.array([found[kind, state, method] for found in scores])
                wrong = values < limit if state == "sharp" and kind != "mosaic" else values >= limit
                shares.append(f"{wrong.mean():.0%}")
            cells.append(", ".join(shares))
        print(f"| {kind} | " + " | ".join(cells) + " |")
    print()


def _unchanged(grey: Image) -> Image:
    return grey


def _not_cut(grey: Image) -> list[tuple[int, int, int, int]]:
    return [(0, grey.shape[0], 0, grey.shape[1])]


def _one_direction() -> tuple[tuple[NDArray[np.float32], ...], ...]:
    return ((np.ones((1, 1), np.float32),),)


ABLATIONS: dict[str, tuple[ModuleType, str, object]] = {
    "as it is": (sharpness, "SPREAD", sharpness.SPREAD),
    "margins and gaps kept": (content, "parts", _not_cut),
    "longer side alone sets the scale": (content, "SHORTER_SIDE", 1),
    "drawn colours kept": (content, "drawn", np.zeros_like),
    "points kept": (content, "without_points", _unchanged),
    "blocks kept": (content, "without_blocks", _unchanged),
    "one round Gaussian": (sharpness, "_lines", _one_direction),
    "no median of tiles": (sharpness, "SPREAD", 1),
    "noise kept": (sharpness, "NOISE_MARGIN", 0.0),
    "levels not stretched": (sharpness, "FULL_RANGE", 0.0),
}
TELLING = ("page", "panorama", "boxes", "salt and pepper", "mosaic", "gaussian noise", "watermark", "dusk", "fog")


def score_ablations(number: int, path: Path) -> Errors:
    """Return one photograph's score without each step of the check, in each state with each addition."""
    cv2.setNumThreads(1)
    photo = at_working_size(read_file(path))
    found = {}
    for state, blurring in STATES.items():
        base = photo if blurring is None else blurring(photo, np.random.default_rng(number))
        for index, kind in enumerate(("nothing", *TELLING)):
            copy = base if kind == "nothing" else ADDITIONS[kind](base, np.random.default_rng((number, index)))
            for name, (module, attribute, value) in ABLATIONS.items():
                with patch.object(module, attribute, value):
                    found[kind, state, name] = score(copy)
    return found


def print_ablations(photos: list[Path], jobs: int) -> None:
    """Print the share of wrong verdicts without each step, at a threshold fitted without it."""
    with ProcessPoolExecutor(jobs) as pool:
        scores = list(pool.map(score_ablations, range(len(photos)), photos))
    print("| left out | " + " | ".join(("nothing", *TELLING)) + " |")
    print("|---" * (len(TELLING) + 2) + "|")
    for name in ABLATIONS:
        limit = threshold_for(np.array([found["nothing", "sharp", name] for found in scores]), 0.01)
        cells = []
        for kind in ("nothing", *TELLING):
            sharp = np.array([found[kind, "sharp", name] for found in scores])
            blurred = np.array([found[kind, state, name] for found in scores for state in list(STATES)[1:]])
            wrong = (sharp >= limit) if kind == "mosaic" else (sharp < limit)
            cells.append(f"{wrong.mean():.0%}, {(blurred >= limit).mean():.0%}")
        print(f"| {name} | " + " | ".join(cells) + " |")
    print()


def haze(share: float) -> Degradation:
    """Return a change that moves all levels towards white and keeps `share` of the contrast, as in fog."""
    return lambda image, _: np.asarray(np.rint(255 - (255.0 - image) * share), np.uint8)


def print_reasons(photos: list[Path]) -> None:
    """Print the reasons given for refused copies."""
    changes = (
        BLURS
        | {f"light {exposure}": low_light(exposure) for exposure in (0.05, 0.1, 0.2, 0.4)}
        | {f"haze {share}": haze(share) for share in (0.05, 0.1, 0.2)}
    )
    print("| kind | refused | " + " | ".join(REASONS) + " |")
    print("|---" * (2 + len(REASONS)) + "|")
    threshold = get_settings().blur_threshold
    for name, change in changes.items():
        rng = np.random.default_rng(0)
        found = [sharpness.measure(change(at_working_size(read_file(path)), rng), threshold) for path in photos]
        reasons = Counter(one.reason for one in found if not one.valid)
        print(f"| {name} | {reasons.total()} | " + " | ".join(str(reasons[reason] or "") for reason in REASONS) + " |")
    print()


def print_labelled(folder: Path, thresholds: dict[str, float]) -> None:
    """Print AUC with its interval and both error rates for the real images by kind."""
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    pictures = [read_file(folder / row["file"]) for row in rows]
    print("| method | kind | sharp | blurred | AUC [95%] | sharp refused | blurred refused |")
    print("|---" * 7 + "|")
    for method, measure in METHODS.items():
        scores = np.array([measure(picture) for picture in pictures])
        for kind in ("all", *sorted({row["kind"] for row in rows})):
            of_kind = np.array([kind in ("all", row["kind"]) for row in rows])
            sharp, blurred = (
                scores[of_kind & np.array([row["label"] == label for row in rows])] for label in ("sharp", "blur")
            )
            low, high = auc_interval(sharp, blurred[:, None], paired=False)
            rates = " | ".join(f"{(part < thresholds[method]).mean():.0%}" for part in (sharp, blurred))
            sizes = f"{len(sharp)} | {len(blurred)}"
            print(f"| {method} | {kind} | {sizes} | {auc(sharp, blurred):.3f} [{low:.3f}, {high:.3f}] | {rates} |")
    print()


def print_captions(photos: list[Path], parquet: Path) -> None:
    """Print the CIDEr-D of shown captions with and without the gate, on sharp and blurred copies.

    Document frequencies come from all references in the file.
    """
    import pyarrow.parquet as pq

    from imgcap.captioner import Captioner
    from imgcap.evaluation.ptb import tokenize
    from imgcap.inference.judging.cider import CiderD

    columns = [f"caption_{number}" for number in range(5)]
    rows = pq.read_table(parquet, columns=["image.path", *columns]).to_pylist()
    references = {row["path"]: [tokenize(row[column]) for column in columns] for row in rows}
    scorer = CiderD(references.values())
    matched = [path for path in photos if path.name in references]
    threshold = get_settings().blur_threshold
    captioner = Captioner(get_settings().model_copy(update={"blur_threshold": 0.0}))  # a caption for every image
    rng = np.random.default_rng(0)
    copies = {"sharp": None, "gaussian 3": gaussian(3), "gaussian 6": gaussian(6), "motion 25": linear_motion(25)}
    shown: dict[str, tuple[list[float], list[bool]]] = {}
    for name, change in copies.items():
        scores, valid = [], []
        for path in matched:
            photo = at_working_size(read_file(path))
            image = change(photo, rng) if change else photo
            caption = tokenize(captioner.caption(image).caption or "")
            scores.append(float(scorer.score([caption], references[path.name])[0]))
            valid.append(score(image) >= threshold)
        shown[name] = (scores, valid)
    pooled = [score for scores, _ in shown.values() for score in scores]
    shown["all together"] = (pooled, [flag for _, flags in shown.values() for flag in flags])
    print(f"{len(matched)} photographs have references.\n")
    print("| copies | captions shown without the gate | their CIDEr-D | shown with it | their CIDEr-D |")
    print("|---|---|---|---|---|")
    for name, (scores, valid) in shown.items():
        kept = np.array(scores)[valid]
        mean = f"{kept.mean():.3f}" if len(kept) else "none"
        print(f"| {name} | {len(scores)} | {np.mean(scores):.3f} | {len(kept)} | {mean} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--labelled", type=Path)
    parser.add_argument("--captions", type=Path)
    parser.add_argument("--ablate", action="store_true", help="leave out each step, on an eighth of the photographs")
    parser.add_argument("--jobs", type=int, default=1, help="processes, for additions and ablations")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    photos = sorted(path for path in options.photos.iterdir() if path.is_file())
    thresholds = thresholds_of(score_photographs(photos[::2], {}))
    print_table(score_photographs(photos[1::2], HARMLESS | BLURS), thresholds)
    print_reasons(photos[1::2])
    print_additions(photos[1::4], thresholds, options.jobs)
    if options.ablate:
        print_ablations(photos[::8], options.jobs)
    if options.labelled:
        print_labelled(options.labelled, thresholds)
    if options.captions:
        print_captions(photos[1::2], options.captions)


if __name__ == "__main__":
    main()
