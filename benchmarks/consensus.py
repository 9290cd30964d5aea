"""Measure how the caption shown is found: `python -m benchmarks.consensus --data DIR_OR_ID [--pictures N]`.

The validation split is captioned by the search of `generate()`, with the rules of wording, and with the caption that
the others agree with, for several weights. If the captioner can predict n-grams, two more rows follow: they help to
choose among twice as many beams, and they also steer the search, as imgcap does by default. Each row's CIDEr-D is
compared with the first row's on the same images, with a 95% interval of the paired difference; "even" and "odd" rows
are halves for choosing and checking. "bad" counts captions that break a rule of wording. The last table compares how
varied the captions and people's own are.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imgcap.data import FLICKR8K
from imgcap.data.loading import load_rows
from imgcap.evaluation.ptb import tokenize
from imgcap.evaluation.run import encode
from imgcap.evaluation.variety import variety
from imgcap.inference.checkpoint import load_captioner
from imgcap.inference.decoding.search import Hypothesis, beam_search
from imgcap.inference.decoding.wording import well_formed
from imgcap.inference.engines.device import device
from imgcap.inference.engines.engine import Encoding
from imgcap.inference.engines.torch_engine import TorchEngine
from imgcap.inference.files import Description, describe
from imgcap.inference.judging.cider import CiderD
from imgcap.inference.judging.consensus import choose
from imgcap.inference.writer import Writer
from imgcap.settings import get_settings

CHOICES = {"consensus": (6.0, 0.0), "consensus and score": (6.0, 8.0), "consensus, all alike": (0.0, 0.0)}


def main(folder: Path, source: str, pictures: int | None) -> None:
    """Write the captions and print both tables."""
    model, processor = load_captioner(str(folder))
    model.to(device())
    description = describe(folder, str(folder))
    if description.scorer is None:
        raise SystemExit(f"{folder} has no document frequencies: run `imgcap calibrate-confidence` first.")
    rows = load_rows(source, "validation", pictures)
    engine = TorchEngine(model, device())
    captions = write_captions(engine, description, description.scorer, encode(model, processor, rows))
    print_scores(captions, rows.captions)
    print_variety(captions | {"people": [texts[0] for texts in rows.captions]})


def write_captions(
    engine: TorchEngine, description: Description, scorer: CiderD, encodings: Iterable[Encoding]
) -> dict[str, list[str]]:
    """Return the captions of all images by the name of the search that finds them."""
    captions: dict[str, list[str]] = defaultdict(list)
    vocabulary, plain = description.vocabulary, replace(description.search, wording=None)
    writers = open_writers(engine, description)
    for encoding in encodings:
        for found in beam_search(engine, encoding.grid, len(encoding), plain):
            captions["as generate()"] += vocabulary.sentences([found[0].tokens])
        for found in beam_search(engine, encoding.grid, len(encoding), description.search):
            texts = vocabulary.sentences([one.tokens for one in found])
            captions["rules of wording"].append(texts[0])
            for choice, place in choose_variously(scorer, found, description.search.end).items():
                captions[f"rules, {choice}"].append(texts[place])
        for name, writer in writers.items():
            draft = writer.search(encoding, "normal")
            captions[name] += [caption.caption for caption in writer.captions(draft)]
    return captions


def open_writers(engine: TorchEngine, description: Description) -> dict[str, Writer]:
    """Return the writers that predict n-grams, by the name of their search; none if the captioner cannot predict."""
    if description.ngrams is None:
        return {}
    silent = replace(description.ngrams, steering=0.0)
    return {
        "and predicted n-grams": Writer(engine, replace(description, ngrams=silent)),
        "and predicted words and pairs in the search": Writer(engine, description),
    }


def choose_variously(scorer: CiderD, found: Sequence[Hypothesis], end: int) -> dict[str, int]:
    """Return for each of `CHOICES` the place of the caption that it chooses among those that a search found."""
    tokens = [[i for i in one.tokens if i != end] for one in found]
    weighed = scorer.weigh_together(tokens)
    means, scores = [one.log_probability / len(one.tokens) for one in found], [one.score for one in found]
    return {
        choice: choose(scorer, weighed, means, scores, sharpness, weight)
        for choice, (sharpness, weight) in CHOICES.items()
    }


def print_scores(captions: Mapping[str, Sequence[str]], people: Sequence[Sequence[str]]) -> None:
    """Print the CIDEr-D of each search against people's captions, and its difference from the first search's."""
    print("| search | CIDEr | against the first | even rows | odd rows | bad |\n|---|---|---|---|---|---|")
    references = [[tokenize(caption) for caption in texts] for texts in people]
    scorer = CiderD(references)
    base: NDArray[np.float64] | None = None
    for name, written in captions.items():
        values = np.array([scorer.score([tokenize(c)], r)[0] for c, r in zip(written, references, strict=True)])
        base = values if base is None else base
        difference = values - base
        interval = 1.96 * difference.std() / len(difference) ** 0.5
        bad = sum(not well_formed(caption) for caption in written)
        print(
            f"| {name} | {values.mean():.3f} | {difference.mean():+.3f} +- {interval:.3f} | "
            f"{difference[::2].mean():+.3f} | {difference[1::2].mean():+.3f} | {bad} |"
        )


def print_variety(captions: Mapping[str, Sequence[str]]) -> None:
    """Print how varied the captions are."""
    print("\n| one caption a picture | distinct | words | length | in the 5 commonest templates |")
    print("|---|---|---|---|---|")
    for name, written in captions.items():
        one = variety(written)
        print(
            f"| {name} | {one['distinct']:.2f} | {one['words']:.0f} | {one['length']:.1f} | "
            f"{one['in_commonest_templates']:.2f} |"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path(get_settings().model))
    parser.add_argument("--data", default=FLICKR8K)
    parser.add_argument("--pictures", type=int)
    arguments = parser.parse_args()
    main(arguments.model, arguments.data, arguments.pictures)
