import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from recipes import small
from safetensors.torch import save_file

from imgcap.data import loading as data
from imgcap.errors import InputError
from imgcap.evaluation.mistakes import count_mistakes
from imgcap.evaluation.run import summarize
from imgcap.hub.card import read_provenance
from imgcap.inference.checkpoint import average, last_checkpoints, load_captioner
from imgcap.settings import ROOT
from imgcap.training.run import build, load_encoder_weights, load_recipe, train

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.fixture(scope="module")
def first_stage(tmp_path_factory, caption_folder):
    folder = tmp_path_factory.mktemp("first")
    recipe = small(folder, caption_folder, epochs=20, learning_rate=5e-3)
    return recipe, train(recipe)


def test_a_stage_leaves_a_captioner_its_log_its_scores_and_its_card(first_stage):
    recipe, scores = first_stage
    output = Path(recipe.output)
    model, processor = load_captioner(recipe.output)
    assert model.config.vocab_size == len(processor.tokenizer)
    assert json.loads((output / "scores.json").read_text()) == scores
    assert scores["n"] == 6
    captions = json.loads((output / "captions.json").read_text())
    split = data.load_split(recipe.data, "validation")
    assert summarize(recipe.output, "validation", split, captions) == scores
    assert scores["split"] == "validation"
    log = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert any("eval_CIDEr" in row for row in log)
    assert load_recipe(str(output / "recipe.yaml")) == recipe


def test_the_loss_falls(first_stage, caption_folder):
    recipe, _ = first_stage
    model, processor = load_captioner(recipe.output)
    split = data.load_split(str(caption_folder), "train")
    collator = data.CaptionCollator(processor.tokenizer, processor.image_processor)
    rows = [
        {"image": row["image"], "captions": captions}
        for row, captions in zip(split, data.references(split), strict=True)
    ]
    with torch.inference_mode():
        trained = model(**collator(rows)).loss
        model.init_weights()
        untrained = torch.log(torch.tensor(float(model.config.vocab_size)))
    assert trained < 0.7 * untrained


def test_the_best_checkpoint_by_validation_cider_is_kept(first_stage):
    recipe, scores = first_stage
    log = [json.loads(line) for line in (Path(recipe.output) / "log.jsonl").read_text().splitlines()]
    best = max(row["eval_CIDEr"] for row in log if "eval_CIDEr" in row)
    # The last scores are of whole pictures through the encoder, those on the way of grids kept in half precision.
    assert scores["CIDEr"] == pytest.approx(best, abs=0.05)


@pytest.mark.usefixtures("without_meteor")
@pytest.mark.parametrize("wins", [True, False])
def test_the_mean_of_the_last_epochs_is_kept_where_it_scores_at_least_the_best(wins, tmp_path, caption_folder):
    # A rate that makes weights jump leaves a mean of strangers; none at all makes all epochs one, and so their mean.
    rate = 0.0 if wins else 0.05
    recipe = small(tmp_path, caption_folder, average_last=2, learning_rate=rate, weight_decay=0.0)
    train(recipe)
    output = Path(recipe.output)
    log = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    said = next(row for row in log if "average_CIDEr" in row)
    evaluated = [row["eval_CIDEr"] for row in log if "eval_CIDEr" in row]
    assert said["average_CIDEr"] == evaluated[-1]
    assert said["average_kept"] == (evaluated[-1] >= max(evaluated[:-1])) == wins
    mean, kept = average(last_checkpoints(output, 2)), load_captioner(recipe.output)[0].state_dict()
    assert all(torch.allclose(kept[name], mean[name], atol=2e-3) for name in mean) == wins


def test_the_card_holds_the_measured_numbers_and_the_terms(first_stage):
    recipe, scores = first_stage
    card = ModelCard.load(Path(recipe.output) / "README.md")
    reported = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert reported["CIDEr"] == round(scores["CIDEr"], 4)
    assert all(result.dataset_split == "validation" for result in card.data.eval_results)
    assert "research and education only" in card.text
    assert "random weights" in card.text


def test_the_mistakes_are_counted_and_the_card_says_how_many(first_stage):
    recipe, _ = first_stage
    output = Path(recipe.output)
    captions = json.loads((output / "captions.json").read_text())
    counted = json.loads((output / "mistakes.json").read_text())
    assert counted == count_mistakes(captions, data.references(data.load_split(recipe.data, "validation")))
    colour = counted["colour"]["captions"]
    card = (output / "README.md").read_text()
    assert f"| colour | {colour['named']} | {colour['contradicted']} | " in card
    assert "| sex | 0 | 0 | none named |" in card  # of discs and squares


@pytest.mark.usefixtures("without_meteor")
def test_the_vocabulary_comes_from_the_training_split_only(tmp_path, caption_folder):
    split = data.load_split(str(caption_folder), "train")
    (tmp_path / "data").mkdir()
    split.to_parquet(str(tmp_path / "data" / "train.parquet"))
    changed = split.map(lambda row: {name: "zebra " + row[name] for name in data.CAPTION_COLUMNS}).select(range(4))
    changed.to_parquet(str(tmp_path / "data" / "validation.parquet"))
    recipe = small(tmp_path, tmp_path / "data", epochs=1)
    train(recipe)
    assert "zebra" not in load_captioner(recipe.output)[1].tokenizer.get_vocab()


@pytest.mark.usefixtures("without_meteor")
def test_the_next_stage_starts_from_the_last_and_moves_the_encoder(first_stage, tmp_path, caption_folder):
    before, _ = first_stage
    recipe = small(
        tmp_path, caption_folder, init_from=before.output, epochs=1, learning_rate=1e-3, encoder_learning_rate=1e-4,
        train_pictures=8, validation_pictures=3,
    )  # fmt: skip
    scores = train(recipe)
    assert scores["n"] == 3
    old, new = load_captioner(before.output)[0], load_captioner(recipe.output)[0]
    assert not torch.equal(old.encoder.trunk.conv1.weight, new.encoder.trunk.conv1.weight)
    assert torch.equal(old.encoder.trunk.bn1.running_mean, new.encoder.trunk.bn1.running_mean)
    assert "Then trained on from the checkpoint" in (Path(recipe.output) / "README.md").read_text()


def test_a_frozen_encoder_does_not_move(first_stage):
    recipe, _ = first_stage
    torch.manual_seed(recipe.seed)
    fresh, _ = build(recipe, data.load_split(recipe.data, "train"))
    trained, _ = load_captioner(recipe.output)
    kernel = fresh.encoder.trunk.conv1.weight
    assert torch.equal(trained.encoder.trunk.conv1.weight, kernel.half().float())


@pytest.mark.usefixtures("without_meteor")
def test_an_interrupted_stage_resumes_where_it_was(tmp_path, caption_folder):
    whole = small(tmp_path / "whole", caption_folder, epochs=4)
    train(whole)
    checkpoints = sorted((Path(whole.output) / "checkpoints").iterdir(), key=lambda p: int(p.name.split("-")[1]))
    part = small(tmp_path / "part", caption_folder, epochs=4, cache=whole.cache, resume=True)
    (Path(part.output) / "checkpoints").mkdir(parents=True)
    shutil.copytree(checkpoints[0], Path(part.output) / "checkpoints" / checkpoints[0].name)
    train(part)
    first, second = (load_captioner(recipe.output)[0].state_dict() for recipe in (whole, part))
    assert all(torch.allclose(first[name], second[name], atol=1e-5) for name in first)


def test_nothing_to_resume_from_is_said(tmp_path, caption_folder):
    with pytest.raises(InputError, match=r"no checkpoint in .* to resume from"):
        train(small(tmp_path, caption_folder, resume=True))


def test_encoder_weights_come_from_a_file_in_torchvisions_layout(tmp_path):
    import torchvision

    from imgcap.model import ImgcapConfig, ImgcapForImageCaptioning

    for name, first in (("resnet18", "conv1.weight"), ("vgg11", "features.0.weight")):
        network = torchvision.models.get_model(name, num_classes=3)
        config = ImgcapConfig(encoder=name, vocab_size=8, hidden_size=16, num_attention_heads=2)
        model = ImgcapForImageCaptioning(config)
        save_file(network.state_dict(), tmp_path / f"{name}.safetensors")
        load_encoder_weights(model, str(tmp_path / f"{name}.safetensors"))
        torch.save(network.state_dict(), tmp_path / f"{name}.pth")
        load_encoder_weights(model, str(tmp_path / f"{name}.pth"))
        assert torch.equal(next(model.encoder.parameters()), network.state_dict()[first])
    with pytest.raises(InputError, match="are not those of a vgg11"):
        load_encoder_weights(model, str(tmp_path / "resnet18.safetensors"))
    with pytest.raises(InputError, match=r"one of .*IMAGENET1K_V1"):
        load_encoder_weights(model, "IMAGENET9")


def test_encoder_weights_come_from_another_captioner(tiny_captioner):
    from imgcap.model import ImgcapConfig, ImgcapForImageCaptioning

    other, _ = load_captioner(str(tiny_captioner))
    config = ImgcapConfig(encoder=other.config.encoder, decoder="merge", vocab_size=8, hidden_size=16)
    model = ImgcapForImageCaptioning(config)
    load_encoder_weights(model, str(tiny_captioner))
    assert f"taken from the checkpoint `{tiny_captioner.name}`" in read_provenance("", str(tiny_captioner))
    own, others = model.encoder.state_dict(), other.encoder.state_dict()
    assert all(torch.equal(own[name], others[name]) for name in own)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_a_recipe(path):
    recipe = load_recipe(str(path))
    assert recipe.output == f"runs/{path.stem}"


def test_the_command_line_overrides_the_file():
    recipe = load_recipe(str(ROOT / "configs" / "smoke.yaml"), ["epochs=1.5", "augmentation.flip=0", "data=here"])
    assert (recipe.epochs, recipe.augmentation.flip, recipe.data) == (1.5, 0, "here")


@pytest.mark.parametrize(
    ("override", "message"),
    [("epochz=3", "epochz"), ("epochs=many", "many"), ("augmentation.flop=1", "flop"), ("decoder=[1,2]", "decoder")],
)
def test_a_wrong_key_or_value_is_named(override, message):
    with pytest.raises(InputError, match=message):
        load_recipe(str(ROOT / "configs" / "smoke.yaml"), [override])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder": "transformer"}, "decoder must be one of"),
        ({"encoder": "resnet9000"}, "resnet9000"),
        ({"init_from": "nowhere/at-all"}, "No captioner can be loaded from 'nowhere/at-all'"),
        ({"data": "nowhere/at-all"}, "no folder 'nowhere/at-all', and the Hub cannot be reached"),
    ],
)
def test_what_cannot_be_trained_is_said_in_a_sentence(options, message, tmp_path, caption_folder):
    recipe = small(tmp_path, caption_folder, **options)
    with pytest.raises(InputError, match=message):
        train(recipe)
    assert not Path(recipe.output).exists()


def test_the_command_trains_and_prints_its_scores(tmp_path, caption_folder):
    places = [f"data={caption_folder}", f"output={tmp_path}/run", f"cache={tmp_path}/cache"]
    small = ["encoder=resnet18", "encoder_weights=none", "epochs=1", "min_count=1"]
    command = [sys.executable, "train.py", "configs/smoke.yaml", *places, *small]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout[done.stdout.rindex('{\n  "model"') :])["n"] == 6
    assert "it/s" in done.stderr or "s/it" in done.stderr  # a progress bar


def test_the_command_says_what_is_wrong_in_one_line():
    done = subprocess.run([sys.executable, "train.py", "configs/none.yaml"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("There is no recipe at 'configs/none.yaml'")
    assert "Traceback" not in done.stderr
