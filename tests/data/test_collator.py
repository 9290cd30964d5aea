from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from imgcap.data.collator import CaptionCollator, ImageCollator
from imgcap.data.vocabulary import build_tokenizer
from imgcap.model import ImgcapImageProcessor

CAPTIONS = ["A dog runs .", "a dog swims", "The dog 's t-shirt", "a cat"]


@pytest.fixture
def collator():
    tokenizer = build_tokenizer(CAPTIONS, min_count=1)
    return CaptionCollator(tokenizer, ImgcapImageProcessor(size={"height": 64, "width": 64}), num_captions=2)


def test_a_batch_holds_each_images_captions_side_by_side(collator):
    rows = [
        {"image": Image.new("L", (9, 5)), "captions": ["a dog runs", "a cat"]},
        {"image": Image.new("RGBA", (70, 80)), "captions": ["a dog"]},
    ]
    batch = collator(rows)
    assert batch["pixel_values"].shape == (2, 3, 64, 64)
    assert batch["pixel_values"].dtype == torch.float32
    end = collator.tokenizer.eos_token_id
    encode = {text: collator.tokenizer(text).input_ids[1:] for text in ("a dog runs", "a cat", "a dog")}
    expected = [
        [*encode["a dog runs"], end],
        [*encode["a cat"], end, -100],
        [*encode["a dog"], end, -100],
        [*encode["a dog"], end, -100],  # one caption serves twice, so that every picture has as many rows
    ]
    assert batch["labels"].tolist() == expected
    start, pad = collator.tokenizer.bos_token_id, collator.tokenizer.pad_token_id
    assert batch["decoder_input_ids"].tolist()[1] == [start, *encode["a cat"], end]
    assert batch["decoder_input_ids"].tolist()[0] == [start, *encode["a dog runs"]]
    assert pad not in batch["labels"].flatten().tolist()


def test_a_cut_caption_has_no_end(collator):
    labels = replace(collator, max_words=2).labels([["a dog runs", "a cat"], ["a dog swims", "a dog"]])
    assert labels.shape == (4, 2)
    assert collator.tokenizer.eos_token_id not in labels.tolist()[0]


def test_cached_features_take_the_images_place(collator):
    collator = replace(collator, processor=None)
    grid = np.ones((4, 8), np.float16)
    batch = collator([{"features": grid, "captions": ["a dog"]}] * 3)
    [grid] = batch["encoder_outputs"]
    assert (grid.shape, grid.dtype) == ((3, 4, 8), torch.float32)
    assert {type(value) for value in batch.values()} == {tuple, torch.Tensor}  # a GPU's loader can pin these
    with pytest.raises(ValueError, match="no processor"):
        collator.pixels([])


def test_batches_bring_images_or_grids_and_raw_captions(collator):
    rows = [{"image": Image.new("RGB", (9, 5)), "captions": ["A dog runs .", "dog"]}]
    assert set(ImageCollator(collator.tokenizer, collator.processor)(rows)) == {"pixel_values", "references"}
    grid = np.zeros((49, 8), np.float16)
    batch = ImageCollator(collator.tokenizer)([{"features": grid, "captions": ["A dog runs ."]}])
    assert set(batch) == {"encoder_outputs", "references"}
    assert batch["references"] == [["A dog runs ."]]
