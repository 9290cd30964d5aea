"""Compute METEOR 1.5 (Denkowski and Lavie 2014) with the Java archive in pycocoevalcap, in COCO's configuration.

The archive aligns each candidate with its references and returns the counts of that alignment; METEOR of any set of
images is one formula of their summed counts. The archive runs once over all captions, and no Java process remains.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pycocoevalcap
from numpy.typing import NDArray

_JAR = Path(pycocoevalcap.__path__[0]) / "meteor" / "meteor-1.5.jar"
_OPTIONS = ("-", "-", "-stdio", "-l", "en", "-norm")

# The archive's own parameters for English (task "rank"): recall against precision, fragmentation, content words
# against function words, and the four matchers: exact, stem, synonym, paraphrase.
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_MATCHERS = np.array([1.0, 0.6, 0.8, 0.6])


def available() -> bool:
    """Return whether Java is installed, which METEOR needs."""
    return shutil.which("java") is not None


def statistics(
    candidates: Sequence[str], references: Sequence[Sequence[str]], *, timeout: float = 600.0
) -> NDArray[np.float64]:
    """Return the alignment counts of each candidate with the best of its references.

    Args:
        candidates: one tokenized caption per image.
        references: tokenized references of each image, at least one.
        timeout: seconds for the whole run, of which Java's start takes about fifteen.

    Returns:
        Counts, shape (images, 23): lengths and function words of candidate and reference; for each of the four
        matchers the matched content words of candidate and reference, then the function words; chunks; matched words.

    Raises:
        RuntimeError: Java failed or took longer than `timeout`.
    """
    java = shutil.which("java")
    if java is None:
        raise RuntimeError("METEOR needs Java, and there is no java on the path; install a Java runtime.")
    lines = "\n".join(_request(*pair) for pair in zip(candidates, references, strict=True))
    command = [java, "-Dfile.encoding=UTF-8", "-Xmx2G", "-jar", str(_JAR), *_OPTIONS]
    try:
        run = subprocess.run(  # noqa: S603  # a fixed command; the captions go through its standard input
            command, input=lines + "\n", capture_output=True, encoding="utf-8", timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"METEOR's Java program did not end within {timeout:g} seconds.") from None
    answers = run.stdout.splitlines()
    if run.returncode or len(answers) != len(candidates):
        reason = (run.stderr.strip().splitlines() or ["no message"])[0]
        raise RuntimeError(f"METEOR's Java program failed ({reason}).")
    return np.array([[float(number) for number in answer.split()] for answer in answers])


def _request(candidate: str, references: Sequence[str]) -> str:
    """Return a line of the archive's protocol; its fields lose the separator and line breaks."""
    fields = [" ".join(field.replace("|||", "").split()) for field in (*references, candidate)]
    return " ||| ".join(["SCORE", *fields])


def countable(statistics: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the statistics ready for summing: as in the archive, a candidate that matches completely adds no chunk."""
    candidate, reference, chunks = statistics[:, 0], statistics[:, 1], statistics[:, 20]
    whole = (statistics[:, 21] == candidate) & (statistics[:, 22] == reference) & (chunks == 1)
    summable = statistics.copy()
    summable[whole, 20] = 0
    return summable


def from_sums(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return METEOR of sets of images, 0-1.

    Args:
        sums: sums of `countable` statistics, shape (..., 23).

    Returns:
        Scores, shape (...), equal to the archive's own EVAL of the same images.
    """
    weight = np.array([_DELTA, 1 - _DELTA])
    lengths, functions = sums[..., 0:2], sums[..., 2:4]
    matches = sums[..., 4:20].reshape(*sums.shape[:-1], 4, 2, 2)  # matcher, content or function, candidate or reference
    matched = np.einsum("m,w,...mws->...s", _MATCHERS, weight, matches)
    precision, recall = np.moveaxis(_ratio(matched, weight[0] * (lengths - functions) + weight[1] * functions), -1, 0)
    mean = _ratio(precision * recall, (1 - _ALPHA) * recall + _ALPHA * precision)
    fragmentation = _ratio(sums[..., 20], sums[..., 21:23].mean(axis=-1))
    return np.asarray(mean * (1 - _GAMMA * fragmentation**_BETA))


def _ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quotient, 0 if the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)
