import json
import re
import shutil

import pytest
import yaml
from huggingface_hub import ModelCard

from imgcap.hub.card import with_confidence, write_card
from imgcap.inference.engines.manifest import add_check
from imgcap.settings import ROOT
from imgcap.training.recipe import in_effect, load_recipe, save_recipe

SHIPPED = sorted(path.parent for path in (ROOT / "models").glob("*/config.json"))


@pytest.fixture(params=SHIPPED, ids=lambda path: path.name)
def shipped(request, tmp_path):
    """A copy of a shipped captioner's folder, without its weights."""
    ignored = shutil.ignore_patterns("model.safetensors", "*.onnx")
    return shutil.copytree(request.param, tmp_path / request.param.name, ignore=ignored)


def test_a_shipped_card_says_what_the_files_beside_it_say(shipped):
    before = (shipped / "README.md").read_text()
    write_card(shipped)
    assert (shipped / "README.md").read_text() == before


def test_a_shipped_recipe_holds_what_was_in_effect(shipped):
    config = json.loads((shipped / "config.json").read_text())
    for path in (shipped / "recipe.yaml", *shipped.glob("stages/*/recipe.yaml")):
        recipe, before = load_recipe(str(path)), path.read_text()
        save_recipe(path, recipe, config)
        assert path.read_text() == before
        written = yaml.safe_load(before)
        assert written["decoder"] == config["decoder"]
        assert written.keys() >= in_effect(recipe).keys()
    final = yaml.safe_load((shipped / "recipe.yaml").read_text())
    assert final["objective"] == "self_critical"
    assert "label_smoothing" not in final


def test_numbers_are_rounded_once(shipped):
    scores = json.loads((shipped / "scores.json").read_text())
    card = ModelCard.load(shipped / "README.md")
    reported = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert reported == {name: scores[name] for name in scores["intervals"]}
    assert all(f"| {name} | {scores[name]:.3f} | " in card.text for name in scores["intervals"])


def test_a_card_says_how_varied_the_captions_are_beside_peoples(shipped):
    scores = json.loads((shipped / "scores.json").read_text())
    scores["variety"] = {
        "captions": {"distinct": 0.614, "words": 310.0, "length": 9.96, "in_commonest_templates": 0.2},
        "people": {"distinct": 0.995, "words": 1812.4, "length": 10.8, "in_commonest_templates": 0.031},
    }
    (shipped / "scores.json").write_text(json.dumps(scores))
    write_card(shipped)
    said = " ".join((shipped / "README.md").read_text().split())
    assert "61% (100%) are different ones; they use 310 (1812) words, 10.0 (10.8) in each; 20% (3%) follow" in said


def test_a_card_says_what_loads_the_model(shipped):
    text = (shipped / "README.md").read_text()
    assert "needs transformers 5 or newer" in text
    assert "a torchvision of the same release as torch" in text


def test_a_new_calibration_replaces_the_older_one(shipped):
    report = json.loads((shipped / "confidence.json").read_text())
    card = (shipped / "README.md").read_text()
    again = with_confidence(card, report | {"ece": 0.123})
    assert again.count("## Confidence\n") == card.count("## Confidence\n") == 1
    assert re.sub(r"expected calibration error \S+", "", again) == re.sub(r"expected calibration error \S+", "", card)
    assert "expected calibration error 0.123" in again


def test_a_card_says_what_exported_files_scored(shipped):
    (shipped / "onnx").mkdir(exist_ok=True)
    (shipped / "onnx" / "export.json").write_text(json.dumps({"files": {}}))
    add_check(shipped / "onnx", {"n": 9, "torch": 0.6, "int8": 0.5961, "same": 0.614})
    write_card(shipped)
    text = " ".join((shipped / "README.md").read_text().split())
    assert "CIDEr-D of 9 validation images is 0.600 in PyTorch and 0.596 from int8 files" in text
    assert "write 61% of the captions to the letter" in text
