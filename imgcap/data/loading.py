"""Flickr8k through `datasets`: loading, caption cleaning, vocabulary, augmentation and batches."""

from imgcap.model import torchvision_ops  # noqa: F401, I001 - must come before torchvision and transformers

import io
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from torchvision.transforms import v2
from transformers import PreTrainedTokenizerFast
from transformers.modeling_outputs import BaseModelOutput

from imgcap.errors import InputError
from imgcap.model import ImgcapImageProcessor
from imgcap.model.modeling_imgcap import shift_right

logger = logging.getLogger(__name__)

FLICKR8K = "jxie/flickr8k"
CAPTIONS_PER_PICTURE = 5
CAPTION_COLUMNS = tuple(f"caption_{i}" for i in range(CAPTIONS_PER_PICTURE))
PAD, START, END, UNK = "<pad>", "<start>", "<end>", "<unk>"
SPECIAL_TOKENS = (PAD, START, END, UNK)  # their ids are their places, and ImgcapConfig's defaults

# Cleaning is the tokenizer's own normaliser, so that what is trained on, what tokenizer.json does elsewhere and what
# clean_caption says are one thing. Apostrophes and hyphens stay inside words ("man's", "t-shirt") and go elsewhere.
CLEANER = normalizers.Sequence(
    [
        normalizers.NFKD(),
        normalizers.StripAccents(),
        normalizers.Lowercase(),
        normalizers.Replace(Regex("[\u2018\u2019\u0060\u00b4]"), "'"),
        normalizers.Replace(Regex("[^a-z0-9'-]+"), " "),
        normalizers.Replace(Regex("(?<![a-z0-9])['-]+|['-]+(?![a-z0-9])"), " "),
        normalizers.Replace(Regex(" +"), " "),
        normalizers.Strip(),
    ]
)


def clean_caption(text: str) -> str:
    """Lower case, without accents, punctuation and noise, one space between words."""
    return str(CLEANER.normalize_str(text))


def load_split(source: str, split: str) -> datasets.Dataset:
    """One split of a caption data set, from a Hub id or a folder alike.

    Args:
        source: Hub id or folder in the layout of `jxie/flickr8k`: columns `image` and `caption_0`..`caption_4`.
        split: "train", "validation" or "test".

    Raises:
        InputError: no such data set or split, no way to the Hub, or a column is missing.
    """
    try:
        dataset = datasets.load_dataset(source, split=split)
    except (FileNotFoundError, datasets.exceptions.DatasetNotFoundError) as error:
        raise InputError(
            f"No data set at {source!r}: give a folder of parquet files or the id of one on the Hub."
        ) from error
    except ConnectionError as error:
        raise InputError(
            f"There is no folder {source!r}, and the Hub cannot be reached: give a folder of parquet files, or connect."
        ) from error
    except ValueError as error:
        raise InputError(
            f"The data set {source!r} has no split {split!r}, or cannot be read as images and captions."
        ) from error
    missing = [name for name in ("image", *CAPTION_COLUMNS) if name not in dataset.column_names]
    if missing:
        raise InputError(
            f"The data set {source!r} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}: "
            f"it needs image and {CAPTION_COLUMNS[0]} to {CAPTION_COLUMNS[-1]}."
        )
    if not isinstance(dataset.features["image"], datasets.Image):
        raise InputError(f"The column image of {source!r} does not hold pictures.")
    return dataset


def references(dataset: datasets.Dataset) -> list[list[str]]:
    """The raw captions of each picture, empty ones left out."""
    columns = [dataset[name] for name in CAPTION_COLUMNS]
    return [[text for text in row if text and text.strip()] for row in zip(*columns, strict=True)]


def drop_unusable(dataset: datasets.Dataset, name: str) -> datasets.Dataset:
    """Leave out rows whose picture cannot be decoded or that lack a caption, with one warning that counts them.

    Args:
        dataset: a split from `load_split`.
        name: what to call it in the warning.

    Raises:
        InputError: nothing is left.
    """
    undecodable: list[int] = []
    uncaptioned: list[int] = []
    captions = references(dataset)
    for row, picture in enumerate(dataset.cast_column("image", datasets.Image(decode=False))["image"]):
        if not any(clean_caption(text) for text in captions[row]):
            uncaptioned.append(row)
        elif not _decodes(picture):
            undecodable.append(row)
    if undecodable or uncaptioned:
        logger.warning(
            "%s: left out %d pictures that cannot be decoded and %d without a caption, of %d (rows %s).",
            name, len(undecodable), len(uncaptioned), len(dataset), (undecodable + uncaptioned)[:10],
        )  # fmt: skip
    bad = {*undecodable, *uncaptioned}
    if len(bad) == len(dataset):
        raise InputError(f"{name} has no picture that can be decoded and has a caption.")
    return dataset.select([row for row in range(len(dataset)) if row not in bad]) if bad else dataset


def _decodes(picture: dict[str, Any] | None) -> bool:
    if picture is None:
        return False
    try:
        with Image.open(io.BytesIO(picture["bytes"]) if picture.get("bytes") else picture["path"]) as image:
            image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return False
    return True


def build_tokenizer(captions: Iterable[str], min_count: int = 5) -> PreTrainedTokenizerFast:
    """A word-level tokenizer over the words that occur at least `min_count` times, the most frequent first.

    Encoding puts the start token in front and no end token behind, as generation wants it; the collator adds the end.
    """
    counts = Counter(word for caption in captions for word in clean_caption(caption).split())
    words = sorted((word for word, count in counts.items() if count >= min_count), key=lambda w: (-counts[w], w))
    vocabulary = {word: index for index, word in enumerate((*SPECIAL_TOKENS, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    tokenizer.normalizer = CLEANER
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)  # joins words by one space
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, vocabulary[START])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=START, eos_token=END, unk_token=UNK,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


@dataclass(frozen=True)
class AugmentationConfig:
    """The random changes a training picture goes through; zero switches one off."""

    size: float = 0.3  # a random crop keeps at least 1 - size of the picture's area
    flip: float = 0.5  # probability of a mirror image
    rotation: float = 5.0  # degrees, either way
    brightness: float = 0.2  # factors of torchvision's ColorJitter
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.0
    perspective: float = 0.15  # distortion scale, on every third picture


def augmentation(config: AugmentationConfig, size: int) -> v2.Compose:
    """(3, H, W) uint8 -> (3, size, size) uint8, randomly changed in size, orientation, perspective, colour, light."""
    steps: list[torch.nn.Module] = []
    if config.size:
        steps.append(v2.RandomResizedCrop(size, scale=(1 - config.size, 1.0), ratio=(0.85, 1.18), antialias=True))
    else:
        steps.append(v2.Resize((size, size), antialias=True))
    if config.flip:
        steps.append(v2.RandomHorizontalFlip(config.flip))
    if config.rotation:
        steps.append(v2.RandomApply([v2.RandomRotation(config.rotation, v2.InterpolationMode.BILINEAR)], p=0.5))
    if config.perspective:
        steps.append(v2.RandomPerspective(config.perspective, p=0.33))
    if config.brightness or config.contrast or config.saturation or config.hue:
        steps.append(v2.ColorJitter(config.brightness, config.contrast, config.saturation, config.hue))
    return v2.Compose(steps)


@dataclass
class CaptionCollator:
    """Rows of the data set -> a batch; the captions of a picture are neighbours, so that they share its encoding.

    tokenizer: encodes a caption as start token and words.
    processor: makes pixel_values; None where the rows bring cached features.
    augment: applied to each picture first; None outside training.
    max_words: captions are cut after so many tokens; one in ten of Flickr8k's is longer than 16.
    captions: how many of a picture's captions to take; all where they are fewer, then repeated to keep batches even.
    """

    tokenizer: PreTrainedTokenizerFast
    processor: ImgcapImageProcessor | None = None
    augment: Callable[[Tensor], Tensor] | None = None
    max_words: int = 16
    captions: int = CAPTIONS_PER_PICTURE

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """What the model's forward takes, for rows with `captions` and either `image` or `features`."""
        labels = self.labels([row["captions"] for row in rows])
        start, pad = self.tokenizer.bos_token_id, self.tokenizer.pad_token_id
        # Given here although the model could make them: the Trainer takes the labels away to smooth them.
        return self.pictures(rows) | {"labels": labels, "decoder_input_ids": shift_right(labels, start, pad)}

    def pictures(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """What the model's forward takes for the pictures: pixel_values, or encoder_outputs where grids are cached."""
        if self.processor is None:
            grid = torch.from_numpy(np.stack([row["features"] for row in rows])).float()
            return {"encoder_outputs": BaseModelOutput(last_hidden_state=grid)}
        return {"pixel_values": self.pixels([row["image"] for row in rows])}

    def pixels(self, images: Sequence[Image.Image]) -> Tensor:
        """Pictures -> pixel_values (B, 3, S, S) float32."""
        if self.processor is None:
            raise ValueError("A collator of cached features has no processor for pictures.")
        tensors = [v2.functional.pil_to_tensor(image.convert("RGB")) for image in images]
        if self.augment is not None:
            tensors = [self.augment(tensor) for tensor in tensors]
        pixels: Tensor = self.processor(tensors, return_tensors="pt")["pixel_values"]
        return pixels

    def labels(self, captions: Sequence[Sequence[str]]) -> Tensor:
        """B lists of captions -> (B * captions, T) int64: words, the end token, then -100."""
        texts = [row[i % len(row)] for row in captions for i in range(self.captions)]
        encoded = self.tokenizer(texts, return_attention_mask=False)["input_ids"]
        # The end token stands behind whole captions only: a cut one must not teach the decoder to stop there.
        whole = [torch.tensor([*ids[1:], self.tokenizer.eos_token_id]) for ids in encoded]
        rows = [ids[: self.max_words] for ids in whole]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)
