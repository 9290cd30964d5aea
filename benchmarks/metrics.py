"""Measure the speed of the caption metrics and of pycocoevalcap's, on the same captions in one process.

python -m benchmarks.metrics [--pictures 1000] [--meteor]

The captions are random words, with five references per image. Times are processor seconds of this process.
"""

import argparse
import random
import string
import time
from collections.abc import Callable
from typing import Any

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from imgcap.evaluation import metrics
from imgcap.evaluation.ptb import tokenize
from imgcap.inference.judging.cider import CiderD


def make_captions(pictures: int) -> tuple[list[str], list[list[str]]]:
    """Return one prediction and five references per image, with words about as frequent as in real text."""
    draw = random.Random(0)
    vocabulary = ["".join(draw.choices(string.ascii_lowercase, k=draw.randint(2, 9))) for _ in range(8000)]
    words = [vocabulary[min(int(draw.paretovariate(0.6)), len(vocabulary)) - 1] for _ in range(100_000)]
    captions = [[" ".join(draw.choices(words, k=draw.randint(7, 15))) for _ in range(6)] for _ in range(pictures)]
    return [six[0] for six in captions], [six[1:] for six in captions]


def timed(what: str, work: Callable[[], Any], unit: str = "s", times: int = 0) -> None:
    """Print how long `work` took, or how many of `times` it did per second."""
    start, wall = time.process_time(), time.perf_counter()
    work()
    seconds, elapsed = time.process_time() - start, time.perf_counter() - wall
    figure = times / seconds if times else seconds
    print(f"{what:58} {figure:10.2f} {unit}   ({elapsed:.1f} s elapsed)")


def main() -> None:
    """Time imgcap's and pycocoevalcap's metrics on the same captions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--meteor", action="store_true", help="with METEOR, which starts Java")
    options = parser.parse_args()
    predictions, references = make_captions(options.pictures)
    count = options.pictures

    everything = [*predictions, *(caption for captions in references for caption in captions)]
    timed("tokenize", lambda: [tokenize(caption) for caption in everything], "captions/s", len(everything))
    timed(
        "score: all metrics, 1000 resamples",
        lambda: metrics.score(predictions, references, with_meteor=options.meteor),
    )
    timed(
        "score: all metrics, no resamples",
        lambda: metrics.score(predictions, references, resamples=0, with_meteor=False),
    )
    keyed, candidates = dict(enumerate(references)), {i: [p] for i, p in enumerate(predictions)}
    timed("pycocoevalcap: BLEU, of tokens", lambda: Bleu(4).compute_score(keyed, candidates, verbose=0))
    timed("pycocoevalcap: ROUGE-L, of tokens", lambda: Rouge().compute_score(keyed, candidates))
    timed("pycocoevalcap: CIDEr, of tokens", lambda: Cider().compute_score(keyed, candidates), "captions/s", count)

    scorer = CiderD(references)
    prepared = [scorer.prepare(captions) for captions in references]
    timed("CiderD.prepare", lambda: [scorer.prepare(captions) for captions in references], "pictures/s", count)
    timed(
        "CiderD.score, prepared references",
        lambda: [scorer.score([p] * 5, r) for p, r in zip(predictions, prepared, strict=True)],
        "captions/s",
        5 * count,
    )


if __name__ == "__main__":
    main()
