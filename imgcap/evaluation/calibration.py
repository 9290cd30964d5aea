"""Fit all that a captioner keeps beside its weights: document frequencies, n-grams, confidence and familiar images.

Each image is encoded once, because that takes longest: captions and alternatives of every length are written from one
encoding of the validation images. Training images are also encoded in their mirror images, for the n-grams.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgcap.data.loading import CaptionedImages
from imgcap.data.vocabulary import UNK
from imgcap.errors import InputError
from imgcap.evaluation.confidence import GOOD, MIN_IMAGES, calibrate, save_calibration
from imgcap.evaluation.engines import prepare_batches
from imgcap.evaluation.ngrams import MOST_IMAGES, fit_predictor
from imgcap.evaluation.ptb import tokenize
from imgcap.inference.engines.choice import open_engine
from imgcap.inference.engines.engine import Encoding, Features
from imgcap.inference.files import describe
from imgcap.inference.judging.alternatives import Candidate
from imgcap.inference.judging.cider import CiderD
from imgcap.inference.judging.confidence import EXPECTED_CIDER, PROBABILITY, alternatives_curve
from imgcap.inference.judging.consensus import load_scorer, save_frequencies
from imgcap.inference.judging.expected_ngrams import load_predictor, save_predictor
from imgcap.inference.judging.unfamiliar import fit_bounds, save_bounds
from imgcap.inference.writer import Writer
from imgcap.reading import LENGTHS

ALTERNATIVES = 3
FAMILIAR_IMAGES = 1000  # of the training split


@dataclass
class Written:
    """Captions of one kind and their images, in order.

    places: row of the image of each caption; a row may come several times, or not at all.
    candidates: each caption with its mean log-probability per token.
    shown: for each caption, the caption shown beside it, or the caption itself.
    """

    places: list[int] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    shown: list[Candidate] = field(default_factory=list)

    def add(self, place: int, candidates: list[Candidate], shown: Candidate) -> None:
        """Append captions of one image; `shown` is the caption beside them, or the caption itself."""
        self.places += [place] * len(candidates)
        self.candidates += candidates
        self.shown += [shown] * len(candidates)


def fit_document_frequencies(folder: Path, training: CaptionedImages) -> None:
    """Write the document frequencies of the training captions into a captioner's folder, for its consensus decoding."""
    vocabulary = describe(folder, str(folder), fitted=False).vocabulary
    words = vocabulary.list_words()
    encoded = (vocabulary.encode(captions) for captions in training.captions)
    save_frequencies(folder, encoded, words.index(UNK))


def check_size(validation: CaptionedImages) -> None:
    """Raise an InputError if there are too few validation images to calibrate on."""
    if len(validation) < MIN_IMAGES:
        raise InputError(f"Calibration needs at least {MIN_IMAGES} validation images, not {len(validation)}.")


@dataclass
class Observations:
    """A captioner's captions and features of the validation images.

    written: captions by the name of their curve.
    features: of the images.
    """

    written: dict[str, Written]
    features: Features


def observe(writer: Writer, encodings: Iterable[Encoding]) -> Observations:
    """Write captions and alternatives of every length.

    Args:
        writer: of the captioner.
        encodings: batches of images, encoded by its engine.
    """
    written = {name: Written() for length in LENGTHS for name in (length, alternatives_curve(length))}
    features = []
    row = 0
    for encoding in encodings:
        features.append(_features(encoding))
        for length in LENGTHS:
            draft = writer.search(encoding, length)
            others = writer.find_alternatives(draft, ALTERNATIVES)
            for place, (beams, found) in enumerate(zip(draft.beams, others, strict=True), start=row):
                written[length].add(place, beams[:1], beams[0])
                written[alternatives_curve(length)].add(place, found, beams[0])
        row += len(encoding)
    return Observations(written, Features.concatenate(features))


def fit_all(folder: Path, observed: Observations, validation: CaptionedImages, learned: Features) -> dict[str, Any]:
    """Fit what the captioner in a folder keeps beside its weights, from which its confidences and warnings come.

    Writes confidence.json and the bounds of familiar images.

    Args:
        folder: of a finished captioner.
        observed: its captions of the validation images, written with its document frequencies, which change captions.
        validation: the images, with references.
        learned: features of the first FAMILIAR_IMAGES training images.

    Returns:
        The result of `confidence.calibrate` for captions of normal length, and under "curves" its results for captions
        and alternatives of each length. `confidence.json` contains all of this.

    Raises:
        InputError: there are fewer than MIN_IMAGES validation images.
    """
    check_size(validation)
    # Half of the validation images improve the estimate; the threshold comes from the other half, which is unseen.
    early = observed.features.early
    seen, unseen = early[::2], early[1::2]
    save_bounds(folder, fit_bounds(np.concatenate([learned.early, seen]), unseen))
    # A curve fitted on too few captions would be too uncertain to show anybody.
    enough = {name: kind for name, kind in observed.written.items() if len(kind.candidates) >= MIN_IMAGES}
    curves = {name: _judge(kind, validation, alone=name in LENGTHS) for name, kind in enough.items()}
    report = {**curves["normal"], "curves": curves}
    save_calibration(folder, report)
    return report


def calibrate_captioner(folder: Path, training: CaptionedImages, validation: CaptionedImages) -> dict[str, Any]:
    """Fit everything that a captioner keeps beside its weights, with the engine that would serve it here.

    Args:
        folder: of a finished captioner.
        training: images with captions, for document frequencies; the first `ngrams.MOST_IMAGES` for the prediction of
            n-grams, and of these the first FAMILIAR_IMAGES for the bounds.
        validation: images for bounds and confidence, with references.

    Returns:
        What `fit_all` returns.

    Raises:
        InputError: there are fewer than MIN_IMAGES validation images.
    """
    check_size(validation)
    fit_document_frequencies(folder, training)
    # A caption depends on frequencies and n-grams alone; confidence and bounds are fitted here.
    description = replace(describe(folder, str(folder), fitted=False), scorer=load_scorer(folder))
    engine, _ = open_engine(description, "auto", str(folder))
    learned = fit_ngrams(folder, Writer(engine, description), training.head(MOST_IMAGES))
    writer = Writer(engine, replace(description, ngrams=load_predictor(folder)))
    encodings = (engine.encode(pixels) for pixels in prepare_batches(writer, validation, "validation images"))
    return fit_all(folder, observe(writer, encodings), validation, learned[:FAMILIAR_IMAGES])


def fit_ngrams(folder: Path, writer: Writer, training: CaptionedImages) -> Features:
    """Fit the prediction of n-grams, and write it into a captioner's folder.

    Args:
        folder: of the captioner.
        writer: of the captioner, with its document frequencies.
        training: images with captions.

    Returns:
        The features of the images.

    Raises:
        ValueError: the writer has no document frequencies.
    """
    description, engine = writer.description, writer.engine
    if description.scorer is None:
        raise ValueError("The prediction of n-grams needs document frequencies.")
    straight, mirrored = [], []
    for pixels in prepare_batches(writer, training, "training images"):
        straight.append(_features(engine.encode(pixels)))
        mirrored.append(_features(engine.encode(pixels[..., ::-1])))
    features = Features.concatenate(straight)
    # The encoder knows its training images too well; the mean with the mirror image is more like a new image.
    means = _mean(features, Features.concatenate(mirrored))
    encoded = [description.vocabulary.encode(captions) for captions in training.captions]
    predictor = fit_predictor(means, encoded, description.scorer, description.vocabulary.list_words().index(UNK))
    if predictor is not None:
        save_predictor(folder, predictor)
    return features


def collect_features(encodings: Iterable[Encoding]) -> Features:
    """Return the features of images that were encoded in batches, at least one."""
    return Features.concatenate([_features(encoding) for encoding in encodings])


def _features(encoding: Encoding) -> Features:
    if encoding.features is None:
        raise ValueError("Calibration needs features, and this encoding has only grids.")
    return encoding.features


def _mean(one: Features, other: Features) -> Features:
    return Features(*(np.mean(pair, axis=0) for pair in zip(one.maps, other.maps, strict=True)))


def _judge(written: Written, validation: CaptionedImages, *, alone: bool) -> dict[str, Any]:
    """Return the result of `calibrate` for captions, which are `alone` if they are not alternatives."""
    scorer = CiderD([tokenize(caption) for caption in captions] for captions in validation.captions)
    good = [
        scorer.score([tokenize(candidate.text)], [tokenize(one) for one in validation.captions[place]])[0] >= GOOD
        for place, candidate in zip(written.places, written.candidates, strict=True)
    ]
    of, values = _values(written.candidates)
    # Halves of images, not of captions: alternatives of one image succeed and fail together.
    halves = np.array(written.places) % 2 == 0
    return calibrate(values, np.array(good), halves, None if alone else _values(written.shown)[1], of)


def _values(candidates: Sequence[Candidate]) -> tuple[str, NDArray[np.float64]]:
    """Return what a curve of the candidates maps, and its value for each."""
    expected = [one.expected_cider for one in candidates if one.expected_cider is not None]
    if len(expected) == len(candidates):
        return EXPECTED_CIDER, np.array(expected)
    return PROBABILITY, np.array([one.log_probability for one in candidates])
