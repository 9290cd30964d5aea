"""A captioner is trained on people's own data; data/test_loading.py tests every form of captions."""

import json
from pathlib import Path

import datasets
import pytest
from huggingface_hub import ModelCard
from recipes import small
from shapes import draw

from imgcap.hub.card import write_card
from imgcap.inference.checkpoint import load_captioner
from imgcap.settings import ROOT
from imgcap.training.recipe import load_recipe
from imgcap.training.run import train

ROWS = [("red", "disc"), ("blue", "square"), ("green", "disc"), ("red", "square")]

pytestmark = pytest.mark.usefixtures("without_meteor")


def save_parquet(folder: Path) -> None:
    captions = [f"a {' '.join(row)} here" for row in ROWS]
    columns = {
        "photo": [draw(*row, place) for place, row in enumerate(ROWS)],
        "alt": captions,
        "title": [f"the {caption}" for caption in captions],
    }
    for split in ("train", "validation"):
        data = datasets.Dataset.from_dict(columns).cast_column("photo", datasets.Image())
        data.to_parquet(str(folder / f"{split}.parquet"))


def save_files(folder: Path) -> None:
    for split in ("train", "validation"):
        (folder / split).mkdir(parents=True)
        for place, row in enumerate(ROWS):
            draw(*row, place).save(folder / split / f"{place}.png")
        lines = [{"file_name": f"{place}.png", "text": f"A {' '.join(row)}."} for place, row in enumerate(ROWS)]
        (folder / split / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


OWN_NAMES = {"image_column": "photo", "caption_columns": ["alt", "title"]}


@pytest.mark.parametrize(("save", "options"), [(save_parquet, OWN_NAMES), (save_files, {})])
def test_tables_with_columns_of_other_names_and_folders_are_trained_on(save, options, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    save(data)
    recipe = small(tmp_path, data, epochs=1, feature_views=1, **options)
    assert train(recipe)["n"] == len(ROWS)
    _, processor = load_captioner(recipe.output)
    words = processor.tokenizer.get_vocab().keys()
    assert {"red", "disc", "square"} <= words
    assert ("here" in words) == (save is save_parquet)


def test_the_recipe_for_own_data_goes_on_from_a_trained_captioner_and_its_card_is_about_that_data(
    tiny_captioner, tmp_path
):
    save_files(tmp_path / "data")
    chosen = [
        f"data={tmp_path}/data", "data_id=me/pictures", f"init_from={tiny_captioner}", f"output={tmp_path}/run",
        f"cache={tmp_path}/cache", "epochs=1", "feature_views=1", "batch_size=4", "num_beams=2",
    ]  # fmt: skip
    recipe = load_recipe(str(ROOT / "configs" / "own.yaml"), chosen)
    assert train(recipe)["n"] == len(ROWS)
    write_card(Path(recipe.output))
    card = ModelCard.load(Path(recipe.output) / "README.md")
    assert card.data.datasets == ["me/pictures"]
    assert {result.dataset_type for result in card.data.eval_results} == {"me/pictures"}
    assert "Flickr8k" not in card.text
    assert "terms of its training data hold" in " ".join(card.text.split())
