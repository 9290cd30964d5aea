import io
import logging

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from shapes import caption_split
from transformers import AutoTokenizer

from imgcap.data import loading as data
from imgcap.errors import InputError
from imgcap.model import ImgcapImageProcessor

CAPTIONS = ["A dog runs .", "a dog swims", "The dog 's t-shirt", "a cat"]


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("A black dog is running , through the water .", "a black dog is running through the water"),
        ('The man\'s T-shirt says "hello" !', "the man's t-shirt says hello"),
        ("  Two\tgirls;  'laughing' -- outside...", "two girls laughing outside"),
        ("Caf\u00e9 in M\u00fcnchen & Z\u00fcrich", "cafe in munchen zurich"),
        ("the dog \u2019s ball #12", "the dog s ball 12"),
        (" .,!? ", ""),
        ("", ""),
    ],
)
def test_cleaning(raw, clean):
    assert data.clean_caption(raw) == clean


@given(st.text(max_size=80))
def test_cleaning_is_idempotent_and_leaves_only_words(text):
    clean = data.clean_caption(text)
    assert data.clean_caption(clean) == clean
    assert set(clean) <= set("abcdefghijklmnopqrstuvwxyz0123456789'- ")
    assert "  " not in clean
    assert clean == clean.strip()
    assert not any(word.startswith(("'", "-")) or word.endswith(("'", "-")) for word in clean.split())


def test_rare_words_become_unk_and_special_tokens_come_first():
    tokenizer = data.build_tokenizer(CAPTIONS, min_count=2)
    assert tokenizer.convert_ids_to_tokens(range(len(tokenizer))) == [*data.SPECIAL_TOKENS, "a", "dog"]
    ids = tokenizer("A DOG barks!").input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == [data.START, "a", "dog", data.UNK]
    assert tokenizer("").input_ids == [tokenizer.bos_token_id]


def test_the_vocabulary_does_not_depend_on_the_order_of_captions():
    assert data.build_tokenizer(CAPTIONS, 1).get_vocab() == data.build_tokenizer(reversed(CAPTIONS), 1).get_vocab()


def test_a_saved_tokenizer_cleans_and_encodes_alike(tmp_path):
    tokenizer = data.build_tokenizer(CAPTIONS, min_count=1)
    tokenizer.save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").is_file()
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = "The DOG's  t-shirt, swims!"
    assert again(text).input_ids == tokenizer(text).input_ids
    assert again.decode(tokenizer("A dog runs.").input_ids, skip_special_tokens=True) == "a dog runs"


def test_a_folder_is_loaded_split_by_split(caption_folder):
    assert len(data.load_split(str(caption_folder), "train")) == 12
    validation = data.load_split(str(caption_folder), "validation")
    assert len(validation) == 6
    assert len(data.references(validation)[0]) == data.CAPTIONS_PER_PICTURE


def test_a_missing_column_is_named(tmp_path):
    caption_split(3).remove_columns(["caption_1", "caption_4"]).to_parquet(str(tmp_path / "train.parquet"))
    with pytest.raises(InputError, match="lacks the columns caption_1, caption_4"):
        data.load_split(str(tmp_path), "train")


def test_a_column_without_pictures_is_named(tmp_path):
    table = {"image": ["a.jpg"], **{name: ["a dog"] for name in data.CAPTION_COLUMNS}}
    datasets.Dataset.from_dict(table).to_parquet(str(tmp_path / "train.parquet"))
    with pytest.raises(InputError, match=r"column image .* does not hold pictures"):
        data.load_split(str(tmp_path), "train")


def test_an_absent_split_is_named(tmp_path):
    caption_split(3).to_parquet(str(tmp_path / "train.parquet"))
    with pytest.raises(InputError, match="has no split 'test'"):
        data.load_split(str(tmp_path), "test")


def test_an_absent_or_empty_folder_is_named(tmp_path):
    for place in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError, match="No data set at"):
            data.load_split(str(place), "train")


def test_unusable_rows_are_left_out_and_counted(caplog):
    good = caption_split(4)
    rows = [{name: good[i][name] for name in data.CAPTION_COLUMNS} for i in range(4)]
    buffer = io.BytesIO()
    good[0]["image"].save(buffer, "PNG")
    pictures = [buffer.getvalue(), buffer.getvalue()[:60], b"no picture", buffer.getvalue()]
    rows[3] = dict.fromkeys(data.CAPTION_COLUMNS, " . ")
    table = {"image": [{"bytes": picture, "path": None} for picture in pictures]}
    table |= {name: [row[name] for row in rows] for name in data.CAPTION_COLUMNS}
    damaged = datasets.Dataset.from_dict(table).cast_column("image", datasets.Image())
    with caplog.at_level(logging.WARNING):
        kept = data.drop_unusable(damaged, "the damaged set")
    assert len(kept) == 1
    assert "left out 2 pictures that cannot be decoded and 1 without a caption, of 4" in caplog.text
    with pytest.raises(InputError, match="no picture that can be decoded"):
        data.drop_unusable(damaged.select([1, 2, 3]), "the damaged set")


def test_a_sound_data_set_stays_as_it_is(caplog):
    sound = caption_split(3)
    assert data.drop_unusable(sound, "sound") is sound
    assert not caplog.records


@pytest.fixture
def collator():
    tokenizer = data.build_tokenizer(CAPTIONS, min_count=1)
    return data.CaptionCollator(tokenizer, ImgcapImageProcessor(size={"height": 64, "width": 64}), captions=2)


def test_a_batch_holds_each_pictures_captions_side_by_side(collator):
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
    collator.max_words = 2
    labels = collator.labels([["a dog runs", "a cat"], ["a dog swims", "a dog"]])
    assert labels.shape == (4, 2)
    assert collator.tokenizer.eos_token_id not in labels.tolist()[0]


def test_cached_features_take_the_pictures_place(collator):
    collator.processor = None
    grid = np.ones((4, 8), np.float16)
    batch = collator([{"features": grid, "captions": ["a dog"]}] * 3)
    assert batch["encoder_outputs"].last_hidden_state.shape == (3, 4, 8)
    assert batch["encoder_outputs"].last_hidden_state.dtype == torch.float32
    with pytest.raises(ValueError, match="no processor"):
        collator.pixels([])


OFF = {"size": 0, "flip": 0, "rotation": 0, "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, "perspective": 0}


@pytest.mark.parametrize("name", OFF)
def test_every_augmentation_changes_the_picture_and_can_be_switched_off(name):
    picture = torch.randint(0, 256, (3, 40, 60), dtype=torch.uint8)
    plain = data.augmentation(data.AugmentationConfig(**OFF), 32)
    assert torch.equal(plain(picture), plain(picture))
    strength = {"flip": 1.0, "rotation": 30.0, "size": 0.8}.get(name, 0.4)
    changing = data.augmentation(data.AugmentationConfig(**(OFF | {name: strength})), 32)
    torch.manual_seed(0)
    changed = [changing(picture) for _ in range(8)]
    assert all(result.shape == (3, 32, 32) and result.dtype == torch.uint8 for result in changed)
    assert any(not torch.equal(result, plain(picture)) for result in changed)
