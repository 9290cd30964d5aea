"""A captioner is trained on captions in each form that docs/training.md names."""

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
FORMS = {
    "five columns": lambda text: {f"caption_{number}": text for number in range(5)},
    "captions": lambda text: {"captions": [text, f"one {text}"]},
    "caption": lambda text: {"caption": [text, f"one {text}"]},
    "text": lambda text: {"text": text},
    "own names": lambda text: {"alt": text, "title": f"the {text}"},
}

pytestmark = pytest.mark.usefixtures("without_meteor")


def save_parquet(folder: Path, form: str) -> None:
    image = "photo" if form == "own names" else "image"
    for split in ("train", "validation"):
        rows = [{image: draw(*row, place), **FORMS[form](f"a {' '.join(row)} here")} for place, row in enumerate(ROWS)]
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        data = datasets.Dataset.from_dict(columns).cast_column(image, datasets.Image())
        data.to_parquet(str(folder / f"{split}.parquet"))


def save_files(folder: Path) -> None:
    for split in ("train", "validation"):
        (folder / split).mkdir(parents=True)
        for place, row in enumerate(ROWS):
            draw(*row, place).save(folder / split / f"{place}.png")
        lines = [{"file_name": f"{place}.png", "text": f"A {' '.join(row)}."} for place, row in enumerate(ROWS)]
        (folder / split / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("form", [*FORMS, "files"])
def test_captions_in_every_form_are_trained_on(form, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    save_files(data) if form == "files" else save_parquet(data, form)
    own = {"image_column": "photo", "caption_columns": ["alt", "title"]} if form == "own names" else {}
    recipe = small(tmp_path, data, epochs=1, feature_views=1, **own)
    assert train(recipe)["n"] == len(ROWS)
    _, processor = load_captioner(recipe.output)
    words = processor.tokenizer.get_vocab().keys()
    assert {"red", "disc", "square"} <= words
    assert ("here" in words) == (form != "files")


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
