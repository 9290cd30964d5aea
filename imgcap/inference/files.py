"""Read the small files of a checkpoint, such as its options and its words, without PyTorch or transformers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from imgcap.errors import InputError
from imgcap.inference.decoding.search import SearchOptions
from imgcap.inference.decoding.wording import WordingRules
from imgcap.inference.judging.cider import CiderD
from imgcap.inference.judging.confidence import LOG_PROBABILITY, Curve
from imgcap.inference.judging.consensus import load_scorer
from imgcap.inference.judging.expected_ngrams import NGramPredictor, load_predictor
from imgcap.inference.judging.unfamiliar import Bounds, load_bounds

WEIGHTS, CONFIG, GENERATION, PROCESSOR, TOKENIZER = FILES = (
    "model.safetensors", "config.json", "generation_config.json", "processor_config.json", "tokenizer.json",
)  # fmt: skip
CONFIDENCE = "confidence.json"  # written when the captioner is calibrated


@dataclass(frozen=True)
class Preprocessing:
    """How an RGB image becomes the encoder's input, in the terms of processor_config.json.

    side: side of the square input in pixels.
    mean, std: mean and standard deviation of each channel, after scaling to 0-1.
    """

    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Vocabulary:
    """Turns captions into ids and back, with the checkpoint's own tokenizer.json."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def list_words(self) -> list[str]:
        """Return the word of each id."""
        size = self._tokenizer.get_vocab_size()
        return [self._tokenizer.id_to_token(place) or "" for place in range(size)]

    def encode(self, captions: Sequence[str]) -> list[list[int]]:
        """Return each caption's ids, without start and end token."""
        # One by one: the tokenizer would spread a batch over threads, for which cores that write captions are not free.
        return [self._tokenizer.encode(caption, add_special_tokens=False).ids for caption in captions]

    def words(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        """Return captions in lower case with a space between words, without special tokens."""
        return [self._tokenizer.decode(row, skip_special_tokens=True) for row in tokens]

    def sentences(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        """Return captions as people read them, with a capital and a full stop."""
        return [as_sentence(text) for text in self.words(tokens)]


@dataclass(frozen=True)
class Description:
    """All that defines a captioner apart from its weights.

    folder: folder of its files.
    preprocessing: how images are prepared for it.
    vocabulary: its words.
    search: options of the default search, including the rules of wording.
    scorer: CIDEr-D scorer for `judging.consensus`; None if the captioner has no document frequencies.
    ngrams: predicts n-grams of captions from an image (`judging.expected_ngrams`); None until fitted.
    confidence: the curves of `judging.confidence`, by name; empty until calibrated.
    familiar: recognises images unlike its training images (`judging.unfamiliar`); None until calibrated.
    """

    folder: Path
    preprocessing: Preprocessing
    vocabulary: Vocabulary
    search: SearchOptions
    scorer: CiderD | None
    ngrams: NGramPredictor | None
    confidence: dict[str, Curve]
    familiar: Bounds | None


def as_sentence(text: str) -> str:
    """Return 'A dog runs.' for 'a dog runs'; an empty text stays empty."""
    # imgcap.model.decoding has a copy for the Hub; a test compares the two.
    text = " ".join(text.split()).rstrip(" .")
    return f"{text[0].upper()}{text[1:]}." if text else ""


def split_revision(source: str) -> tuple[str, str | None]:
    """Return a Hub id and the revision after its "@" (a branch, tag or commit); None if it has no revision."""
    name, _, revision = source.partition("@")
    return name, revision or None


def find_folder(source: str, *, weights: bool = True, graphs: Sequence[str] = ()) -> Path:
    """Return the folder of a captioner: `source` itself, or its folder in the Hub's cache.

    Files that the cache lacks are downloaded, with progress bars; without a network only the cache is used.

    Args:
        source: folder, Hub id, or `ID@REVISION`.
        weights: whether to download PyTorch's weights from the Hub.
        graphs: paths of the ONNX files to download from the Hub.

    Raises:
        InputError: the folder does not exist, and the Hub has no such model or cannot be reached.
    """
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    name, revision = split_revision(source)
    wanted, unwanted = ["*.json", "*.md", "*.safetensors", *graphs], [] if weights else [WEIGHTS]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted, ignore_patterns=unwanted))
    except RevisionNotFoundError as error:
        raise InputError(f"The model {name!r} has no revision {revision!r} on the Hub: check the name.") from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"No captioner can be loaded from {source!r}: it is no folder, and the Hub has no model of that id that "
            "you may see. Check the id; a private model needs HF_TOKEN."
        ) from error
    except LocalEntryNotFoundError as error:
        raise InputError(
            f"No captioner can be loaded from {source!r}: it is no folder, and the Hub cannot be reached, nor was the "
            "model downloaded before. Connect, or give a folder."
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(unloadable(source)) from error


def describe(folder: Path, source: str, *, fitted: bool = True) -> Description:
    """Return the description of the captioner in `folder`.

    Args:
        folder: of the captioner.
        source: what an error's message calls it.
        fitted: False leaves out what calibration has fitted, to fit it anew even if its files are damaged.

    Raises:
        InputError: this version cannot read a captioner there.
    """
    try:
        config, generation, processor = (_read(folder / name) for name in (CONFIG, GENERATION, PROCESSOR))
        if config["model_type"] != "imgcap":
            raise InputError(unloadable(source, f"it holds a model of the type {config['model_type']!r}"))
        pictures = processor["image_processor"]
        vocabulary = _read_vocabulary(folder / TOKENIZER)
        search = SearchOptions.read(config | generation)
        special = [int(config[f"{name}_token_id"]) for name in ("pad", "bos", "eos", "unk")]
        wording = WordingRules(vocabulary.list_words(), special, search.end)
        return Description(
            folder=folder,
            preprocessing=Preprocessing(
                side=int(pictures["size"]["height"]),
                mean=tuple(pictures["image_mean"]),
                std=tuple(pictures["image_std"]),
            ),
            vocabulary=vocabulary,
            search=replace(search, wording=wording),
            scorer=load_scorer(folder) if fitted else None,
            ngrams=load_predictor(folder) if fitted else None,
            confidence=_read_curves(folder, config) if fitted else {},
            familiar=load_bounds(folder) if fitted else None,
        )
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(unloadable(source, f"it lacks {Path(error.filename).name}")) from error
    except KeyError as error:
        raise InputError(unloadable(source, f"another version wrote it, since its files lack {error}")) from error
    except (OSError, ValueError, TypeError) as error:
        raise InputError(unloadable(source)) from error


def unloadable(source: str, reason: str = "") -> str:
    """Return the sentence for a `source` that holds no captioner, or that is empty because none was chosen.

    Args:
        source: the captioner's name as the user gave it.
        reason: why it cannot be loaded, as a clause.
    """
    if not source:
        return "This copy of imgcap came without a model: set IMGCAP_MODEL to a captioner's folder or Hub id."
    why = f" ({reason})" if reason else ""
    return f"No captioner can be loaded from {source!r}{why}: give a folder that train.py wrote, or a Hub id."


def _read_vocabulary(path: Path) -> Vocabulary:
    text = path.read_text()
    try:
        return Vocabulary(Tokenizer.from_str(text))
    except Exception as error:  # tokenizers raises nothing more specific
        raise ValueError(f"{path} holds no tokenizer.") from error


def _read_curves(folder: Path, config: dict[str, Any]) -> dict[str, Curve]:
    """Return the curves in confidence.json, or that of normal captions in the configuration if there are no others."""
    path = folder / CONFIDENCE
    curves = _read(path).get("curves", {}) if path.is_file() else {}
    slope, intercept = config.get("confidence_slope"), config.get("confidence_intercept")
    if not curves and slope is not None and intercept is not None:
        return {"normal": Curve(float(slope), float(intercept), of=LOG_PROBABILITY)}
    return {name: Curve.read(curve) for name, curve in curves.items()}


def _read(path: Path) -> dict[str, Any]:
    fields = json.loads(path.read_text())
    if not isinstance(fields, dict):
        raise TypeError(f"{path} holds no JSON object.")
    return fields


def pad(rows: Sequence[Sequence[int]], value: int) -> NDArray[np.int64]:
    """Return rows of ids as one array, padded at the end with `value`."""
    padded = np.full((len(rows), max(map(len, rows), default=0)), value)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return padded
