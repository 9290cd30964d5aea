"""The small files of a checkpoint, read without PyTorch or transformers: what the captioner is, and its words."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from imgcap.errors import InputError
from imgcap.inference.cider import CiderD
from imgcap.inference.consensus import load_scorer
from imgcap.inference.search import SearchOptions
from imgcap.inference.unfamiliar import Bounds, load_bounds
from imgcap.inference.wording import WordingRules

WEIGHTS, CONFIG, GENERATION, PROCESSOR, TOKENIZER = FILES = (
    "model.safetensors", "config.json", "generation_config.json", "processor_config.json", "tokenizer.json",
)  # fmt: skip
CONFIDENCE = "confidence.json"  # there once the captioner is calibrated


@dataclass(frozen=True)
class Preprocessing:
    """How an RGB picture becomes the encoder's input, in the terms of processor_config.json.

    side: pixels of a side of the square input.
    mean, std: of the channels, after scaling to 0-1.
    """

    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Vocabulary:
    """Captions to ids and back, with the checkpoint's own tokenizer.json."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def list_words(self) -> list[str]:
        """Return the word of each id."""
        size = self._tokenizer.get_vocab_size()
        return [self._tokenizer.id_to_token(place) or "" for place in range(size)]

    def encode(self, captions: Sequence[str]) -> list[list[int]]:
        """Return each caption's ids, without start and end token."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(captions), add_special_tokens=False)]

    def words(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        """Return captions in lower case with a space between words, without special tokens."""
        return list(self._tokenizer.decode_batch([list(row) for row in tokens], skip_special_tokens=True))

    def sentences(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        """Return captions as a person reads them: a capital and a full stop."""
        return [as_sentence(text) for text in self.words(tokens)]


@dataclass(frozen=True)
class Description:
    """What a captioner is, apart from its weights.

    folder: where its files are.
    preprocessing: how pictures are prepared for it.
    vocabulary: its words.
    search: how captions are searched for by default, rules of wording among it.
    scorer: chooses the caption that the others agree with (`imgcap.inference.consensus`); None if it has none.
    confidence: slope and intercept of the curves in `imgcap.inference.confidence`, by name; none until calibrated.
    familiar: tells images unlike those that it learned from (`imgcap.inference.unfamiliar`); None until calibrated.
    """

    folder: Path
    preprocessing: Preprocessing
    vocabulary: Vocabulary
    search: SearchOptions
    scorer: CiderD | None
    confidence: dict[str, tuple[float, float]]
    familiar: Bounds | None


def as_sentence(text: str) -> str:
    """Return 'A dog runs.' for 'a dog runs'; an empty text stays empty."""
    # imgcap.model.decoding has the same for the Hub; a test holds them together.
    text = " ".join(text.split()).rstrip(" .")
    return f"{text[0].upper()}{text[1:]}." if text else ""


def split_revision(source: str) -> tuple[str, str | None]:
    """Return a Hub id and the revision behind its "@": a branch, a tag or a commit; None if there is no revision."""
    name, _, revision = source.partition("@")
    return name, revision or None


def find_folder(source: str, *, weights: bool = True, graphs: Sequence[str] = ()) -> Path:
    """Return the folder of a captioner: `source` itself, or where the Hub's cache keeps the model of that id.

    What the cache lacks is downloaded, with bars of progress; without a network the cache alone is used.

    Args:
        source: folder, or Hub id, or `ID@REVISION`.
        weights: whether PyTorch's weights are wanted of a model on the Hub.
        graphs: the paths of its ONNX files that are wanted.

    Raises:
        InputError: there is no such folder, and the Hub has no such model or cannot be reached.
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


def describe(folder: Path, source: str) -> Description:
    """Read what the captioner in `folder` is.

    Raises:
        InputError: there is no captioner that this version can read; `source` is what the user called it.
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
            scorer=load_scorer(folder),
            confidence=_read_curves(folder, config),
            familiar=load_bounds(folder),
        )
    except FileNotFoundError as error:
        raise InputError(unloadable(source, f"it lacks {Path(error.filename).name}")) from error
    except KeyError as error:
        raise InputError(unloadable(source, f"another version wrote it, since its files lack {error}")) from error
    except (OSError, ValueError, TypeError) as error:
        raise InputError(unloadable(source)) from error


def unloadable(source: str, reason: str = "") -> str:
    """Return the sentence that says that there is no captioner at `source`, or that none was chosen if it is empty.

    Args:
        source: what the user called the captioner.
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


def _read_curves(folder: Path, config: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Return the curves in confidence.json, or that of normal captions in the configuration if there are no others."""
    path = folder / CONFIDENCE
    curves = _read(path).get("curves", {}) if path.is_file() else {}
    slope, intercept = config.get("confidence_slope"), config.get("confidence_intercept")
    if not curves and slope is not None and intercept is not None:
        return {"normal": (float(slope), float(intercept))}
    return {name: (float(curve["slope"]), float(curve["intercept"])) for name, curve in curves.items()}


def _read(path: Path) -> dict[str, Any]:
    fields = json.loads(path.read_text())
    if not isinstance(fields, dict):
        raise TypeError(f"{path} holds no JSON object.")
    return fields


def pad(rows: Sequence[Sequence[int]], value: int) -> NDArray[np.int64]:
    """Return rows of ids as one array, filled up with `value` behind their ends."""
    padded = np.full((len(rows), max(map(len, rows), default=0)), value)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return padded
