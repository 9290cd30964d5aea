"""Measure the alternative captions: `python -m benchmarks.alternatives --data DIR_OR_ID [--length short]`.

On images spread evenly over the validation split, the app's alternatives are compared with the other beams of the beam
search. Overlap is the share of content words that two captions of an image have in common (Jaccard), as the mean over
all pairs of the caption and its alternatives. CIDEr-D is that of the alternatives, with the split's document
frequencies. Processor time is the time that they add to an encoded image. The last lines compare the confidence of
captions and alternatives with the share that is good; each length has its own fitted curve.
"""

import argparse
import time
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from imgcap.captioner import NUM_ALTERNATIVES
from imgcap.data import FLICKR8K
from imgcap.data.loading import load_rows
from imgcap.evaluation.confidence import GOOD
from imgcap.evaluation.ptb import tokenize
from imgcap.inference.checkpoint import load_captioner
from imgcap.inference.engines.torch_engine import TorchEngine
from imgcap.inference.files import describe, find_folder
from imgcap.inference.judging.alternatives import overlap
from imgcap.inference.judging.cider import CiderD
from imgcap.inference.writer import Writer
from imgcap.reading import LENGTHS, Length
from imgcap.settings import get_settings


def row(name: str, captions: Sequence[Sequence[str]], scores: Sequence[Sequence[float]], seconds: float) -> str:
    """Return a row of the table; `captions` holds each image's caption and alternatives, `scores` their CIDEr-D."""
    pairs = [overlap(*pair) for texts in captions for pair in combinations(texts, 2)]
    others = [score for values in scores for score in values[1:]]
    count = len(others) / len(captions)
    return (
        f"| {name} | {count:.2f} | {np.mean(pairs):.2f} | {np.mean(others):.3f} | {1e3 * seconds / len(captions):.0f} |"
    )


def main(model_name: str, source: str, pictures: int, length: Length) -> None:
    """Write both kinds of captions for the images and print their measurements."""
    folder = find_folder(model_name)
    model, _ = load_captioner(str(folder))
    description = describe(folder, model_name)
    writer = Writer(TorchEngine(model), description)
    rows = load_rows(source, "validation")
    references = [[tokenize(text) for text in texts] for texts in rows.captions]
    scorer = CiderD(references)
    chosen = np.unique(np.linspace(0, len(rows) - 1, pictures).astype(int))
    seconds = {"beams": 0.0, "sampled": 0.0}
    captions: dict[str, list[list[str]]] = {kind: [] for kind in seconds}
    scores: dict[str, list[list[float]]] = {kind: [] for kind in seconds}
    sure: dict[str, list[tuple[float, bool]]] = {"captions": [], "alternatives": []}
    for place in chosen:
        image = np.asarray(rows.images[int(place)].convert("RGB"))
        encoding = writer.engine.encode(writer.prepare(image)[None])
        started = time.process_time()
        draft = writer.search(encoding, length)
        between = time.process_time()
        different = [*writer.captions(draft), *writer.add_alternatives(draft, NUM_ALTERNATIVES)[0]]
        seconds["beams"] += between - started
        seconds["sampled"] += time.process_time() - between
        beams = [candidate.text for candidate in draft.beams[0]]
        captions["beams"].append(list(dict.fromkeys(beams))[: NUM_ALTERNATIVES + 1])
        captions["sampled"].append([one.caption for one in different])
        for kind, written in captions.items():
            texts = [tokenize(text) for text in written[-1]]
            scores[kind].append(scorer.score(texts, references[place]).tolist())
        for rank, (one, score) in enumerate(zip(different, scores["sampled"][-1], strict=True)):
            if one.confidence is not None:
                sure["alternatives" if rank else "captions"].append((one.confidence, score >= GOOD))
    first = np.mean([values[0] for values in scores["beams"]])
    print(f"{len(chosen)} pictures; CIDEr-D of the caption itself {first:.3f}\n")
    print("| alternatives | a picture | overlap | their CIDEr-D | ms of processor time, decoding only |")
    print("|---|---|---|---|---|")
    for kind, spent in seconds.items():
        print(row(kind, captions[kind], scores[kind], spent))
    for kind, values in sure.items():
        if values:
            confidences, good = np.array(values).T
            promised, kept = confidences.mean(), good.mean()
            print(f"\nMean confidence of {kind}: {promised:.2f}; {kept:.2f} of them have CIDEr-D of at least {GOOD}.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=get_settings().model)
    parser.add_argument("--data", default=FLICKR8K)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--length", choices=LENGTHS, default="normal")
    arguments = parser.parse_args()
    main(arguments.model, arguments.data, arguments.pictures, arguments.length)
