import io
import logging

import datasets
import pytest
from PIL import Image
from shapes import TEMPLATES, caption_split

from imgcap.data.loading import load_rows
from imgcap.errors import InputError

COLUMNS = [f"caption_{i}" for i in range(5)]


@pytest.fixture
def stored(tmp_path):
    """Write a split of other columns, and return its folder as a string."""

    def stored(rows=3, split="train", **columns):
        table = caption_split(rows).remove_columns(COLUMNS)
        for name, values in columns.items():
            table = table.add_column(name, values)
        table.to_parquet(str(tmp_path / f"{split}.parquet"))
        return str(tmp_path)

    return stored


def test_a_folder_is_loaded_split_by_split(caption_folder):
    assert len(load_rows(str(caption_folder), "train")) == 12
    validation = load_rows(str(caption_folder), "validation")
    assert len(validation) == len(validation.images) == 6
    assert all(len(captions) == len(TEMPLATES) for captions in validation.captions)
    split = datasets.load_dataset(str(caption_folder), split="validation")
    assert validation.captions[2] == [split[2][name] for name in COLUMNS]
    assert validation.images[2] == split[2]["image"]


def test_an_absent_split_is_named(tmp_path):
    caption_split(3).to_parquet(str(tmp_path / "train.parquet"))
    with pytest.raises(InputError, match=r"has no split 'test': choose one of train\.$"):
        load_rows(str(tmp_path), "test")


def test_an_absent_or_empty_folder_is_named(tmp_path):
    for place in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError, match="No data set at"):
            load_rows(str(place), "train")


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(InputError, match="cannot be read"):
        load_rows(str(tmp_path), "train")


# The forms in which people keep captions


@pytest.mark.parametrize(
    ("columns", "captions"),
    [
        ({"caption": ["one", "two", "three"]}, [["one"], ["two"], ["three"]]),
        ({"text": ["one", "two", "three"]}, [["one"], ["two"], ["three"]]),
        ({"captions": [["one", "1"], ["two"], ["three", " "]]}, [["one", "1"], ["two"], ["three"]]),
        ({"text": [["one", "1"], ["two"], ["three"]]}, [["one", "1"], ["two"], ["three"]]),
        ({"caption_0": [["one"], ["two"], ["three"]]}, [["one"], ["two"], ["three"]]),
        (
            {"caption_10": ["b", "b", "b"], "caption_9": ["a", "a", None], "url": ["x", "y", "z"]},
            [["a", "b"], ["a", "b"], ["b"]],
        ),
        ({"title": ["no", "no", "no"], "sentences": [["one"], ["two"], ["three"]]}, [["one"], ["two"], ["three"]]),
    ],
)
def test_captions_are_found_in_columns_of_text_and_of_lists(stored, columns, captions):
    assert load_rows(stored(**columns), "train").captions == captions


def test_named_columns_are_taken(stored):
    folder = stored(caption=["no", "no", "no"], alt=["one", "two", "three"], titles=[["1"], ["2"], ["3"]])
    rows = load_rows(folder, "train", caption_columns=["alt", "titles"])
    assert rows.captions == [["one", "1"], ["two", "2"], ["three", "3"]]


def test_a_folder_of_images_with_metadata_is_a_data_set(tmp_path):
    lines = []
    for number, image in enumerate(caption_split(4)["image"]):
        image.save(tmp_path / f"{number}.png")
        lines.append(f'{{"file_name": "{number}.png", "captions": ["number {number}", "a shape"]}}')
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    rows = load_rows(str(tmp_path), "train")
    assert rows.captions[3] == ["number 3", "a shape"]
    assert rows.images[3].size == (64, 64)


@pytest.mark.parametrize("stored_as", ["img", "picture"])
def test_the_only_column_of_images_is_taken(tmp_path, stored_as):
    caption_split(3).rename_column("image", stored_as).to_parquet(str(tmp_path / "train.parquet"))
    rows = load_rows(str(tmp_path), "train")
    assert rows.images[0].size == (64, 64)
    assert load_rows(str(tmp_path), "train", image_column=stored_as).captions == rows.captions


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"caption_0": [1, 2, 3]}, {}, "column caption_0 of .* must hold text or lists of text, not numbers"),
        ({"captions": [[1.5], [2.0], [3.0]]}, {}, "column captions of .* not lists of numbers"),
        ({"text": [{"en": "a"}] * 3}, {}, "column text of .* not nested fields"),
        ({"url": ["x", "y", "z"]}, {}, "no column of captions, only image, url: name .* as caption_columns"),
        ({"text": ["a", "b", "c"]}, {"caption_columns": ["alt"]}, "has no column alt, only image, text"),
        ({"text": ["a", "b", "c"]}, {"image_column": "photo"}, "has no column photo, only image, text"),
        ({"text": ["a", "b", "c"]}, {"image_column": "text"}, "column text of .* does not hold images but text"),
        ({"caption": ["\u4e00\u53ea\u72d7"] * 3}, {}, "column caption of .* script .* '\u4e00\u53ea\u72d7'"),
        ({"caption_1": ["\u0441\u043e\u0431\u0430\u043a\u0430"] * 3}, {}, "column caption_1 of .* script"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence_that_names_the_column(stored, columns, options, message):
    with pytest.raises(InputError, match=message):
        load_rows(stored(**columns), "train", **options)


def test_two_columns_of_images_need_a_choice(tmp_path):
    split = caption_split(2)
    split = split.rename_column("image", "left").add_column(
        "right", split.cast_column("image", datasets.Image(decode=False))["image"][:]
    )
    split.cast_column("right", datasets.Image()).to_parquet(str(tmp_path / "train.parquet"))
    with pytest.raises(InputError, match=r"several columns of images \(left, right\).*image_column"):
        load_rows(str(tmp_path), "train")
    assert len(load_rows(str(tmp_path), "train", image_column="right")) == 2


def test_other_latin_letters_are_kept_and_a_rare_sign_refuses_nothing(stored):
    captions = ["ein gro\u00dfer Hund", "en r\u00f8d bold", *["a dog"] * 298, "a sign that says \u72d7"]
    assert len(load_rows(stored(rows=301, caption=captions), "train")) == 301


# Rows that cannot be used


@pytest.fixture
def damaged(tmp_path):
    """Rows 1 and 2 have no image that can be decoded, row 3 has no caption."""
    good = caption_split(6)
    rows = [{name: good[i][name] for name in COLUMNS} for i in range(6)]
    rows[3] = dict.fromkeys(COLUMNS, " . ")
    buffer = io.BytesIO()
    good[0]["image"].save(buffer, "PNG")
    images = [buffer.getvalue()] * 6
    images[1:3] = [buffer.getvalue()[:60], b"no image"]
    table = {"image": [{"bytes": image, "path": None} for image in images]}
    table |= {name: [row[name] for row in rows] for name in COLUMNS}
    dataset = datasets.Dataset.from_dict(table).cast_column("image", datasets.Image())
    dataset.to_parquet(str(tmp_path / "train.parquet"))
    dataset.select([1, 2, 3]).to_parquet(str(tmp_path / "test.parquet"))
    return str(tmp_path), [[row[name] for name in COLUMNS] for row in rows]


def test_unusable_rows_are_left_out_and_counted(damaged, caplog):
    folder, captions = damaged
    with caplog.at_level(logging.WARNING):
        rows = load_rows(folder, "train")
    assert rows.captions == [captions[0], captions[4], captions[5]]
    assert all(isinstance(image, Image.Image) for image in rows.images)
    assert "left out 2 images that cannot be decoded and 1 without a caption, of 6 (rows [1, 2, 3])" in caplog.text
    with pytest.raises(InputError, match="no image that can be decoded"):
        load_rows(folder, "test")


def test_a_limit_counts_usable_rows(damaged):
    folder, captions = damaged
    assert load_rows(folder, "train", 2).captions == [captions[0], captions[4]]
    assert load_rows(folder, "train", 1).captions == [captions[0]]
    assert len(load_rows(folder, "train", 99)) == 3


def test_a_sound_data_set_gives_no_warning(caption_folder, caplog):
    load_rows(str(caption_folder), "test")
    assert not caplog.records


def test_the_fingerprint_changes_with_the_rows(caption_folder):
    whole, again, part = (load_rows(str(caption_folder), "train", limit) for limit in (None, 12, 5))
    assert whole.fingerprint == again.fingerprint != part.fingerprint
