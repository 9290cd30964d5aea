"""Measure the warning about unfamiliar images: `python -m benchmarks.unfamiliar --data DIR_OR_ID [--folder NAME=DIR]`.

For each kind of image from `benchmarks.not_photographs`, and for the images in each given folder, the table gives the
AUC of the distance against validation photographs, and the share that gets a warning. The last row is the share of
validation photographs that gets a warning.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import roc_auc_score

from benchmarks.not_photographs import KINDS
from imgcap.data import FLICKR8K
from imgcap.data.loading import load_rows
from imgcap.inference.engines.choice import open_engine
from imgcap.inference.files import describe
from imgcap.inference.judging.unfamiliar import load_bounds
from imgcap.inference.writer import Writer
from imgcap.settings import get_settings


def features(writer: Writer, picture: Image.Image) -> NDArray[np.float32]:
    """Return the features (1, E) of an image from which its distance comes."""
    pixels = writer.prepare(np.asarray(picture.convert("RGB")))
    return writer.engine.encode(pixels[None]).features.early


def main(folder: Path, source: str, pictures: int, folders: dict[str, Path]) -> None:
    """Print the table."""
    bounds = load_bounds(folder)
    if bounds is None:
        raise SystemExit(f"{folder} has no bounds: run `imgcap calibrate-confidence` first.")
    description = describe(folder, str(folder))
    engine, _ = open_engine(description, get_settings().engine, str(folder))
    writer = Writer(engine, description)

    def distances(images: list[Image.Image]) -> NDArray[np.float32]:
        return bounds.distances(np.concatenate([features(writer, image) for image in images]))

    photographs = distances(list(load_rows(source, "validation", 10 * pictures).images))
    kinds = {name: [make(np.random.default_rng([7, i])) for i in range(pictures)] for name, make in KINDS.items()}
    for name, place in folders.items():
        kinds[name] = [Image.open(path) for path in sorted(place.iterdir()) if path.suffix in (".jpg", ".png")]
    print("| kind | pictures | AUC | warned |\n|---|---|---|---|")
    everything = []
    for name, images in kinds.items():
        found = distances(images)
        everything.append(found)
        auc = roc_auc_score(np.arange(len(photographs) + len(found)) >= len(photographs), [*photographs, *found])
        print(f"| {name} | {len(found)} | {auc:.3f} | {(found > bounds.threshold).mean():.0%} |")
    found = np.concatenate(everything)
    auc = roc_auc_score(np.arange(len(photographs) + len(found)) >= len(photographs), [*photographs, *found])
    print(f"| all together | {len(found)} | {auc:.3f} | {(found > bounds.threshold).mean():.0%} |")
    print(f"| validation photographs | {len(photographs)} | | {(photographs > bounds.threshold).mean():.1%} |")


if __name__ == "__main__":
    mpl.use("Agg")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path(get_settings().model))
    parser.add_argument("--data", default=FLICKR8K)
    parser.add_argument("--pictures", type=int, default=20, help="of each kind; ten times as many photographs")
    parser.add_argument("--folder", action="append", default=[], metavar="NAME=DIR")
    arguments = parser.parse_args()
    places = dict(entry.split("=", 1) for entry in arguments.folder)
    main(arguments.model, arguments.data, arguments.pictures, {name: Path(place) for name, place in places.items()})
