import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from processes import run_python
from recipes import small
from shapes import caption_split, captioned_images

from imgcap.data.loading import load_rows
from imgcap.errors import InputError
from imgcap.evaluation import calibration, confidence, meteor
from imgcap.evaluation import run as evaluation
from imgcap.evaluation.mistakes import count_mistakes
from imgcap.evaluation.run import CaptionedSplit, encode, summarize
from imgcap.hub.card import write_card
from imgcap.inference.checkpoint import load_captioner
from imgcap.inference.judging import unfamiliar
from imgcap.settings import ROOT
from imgcap.training import run
from imgcap.training.averaging import average, last_checkpoints
from imgcap.training.build import build
from imgcap.training.recipe import in_effect, load_recipe
from imgcap.training.run import train


@pytest.fixture(scope="module")
def first_stage(tmp_path_factory, caption_folder):
    folder = tmp_path_factory.mktemp("first")
    recipe = small(folder, caption_folder, epochs=20, learning_rate=5e-3)
    with mock.patch.object(meteor, "available", return_value=False):  # Java would take as long as the training
        scores = train(recipe)
    write_card(Path(recipe.output))
    return recipe, scores


@pytest.mark.usefixtures("without_meteor")
def test_a_stage_leaves_a_captioner_its_log_its_scores_and_its_card(first_stage):
    recipe, scores = first_stage
    output = Path(recipe.output)
    model, processor = load_captioner(recipe.output)
    assert model.config.vocab_size == len(processor.tokenizer)
    assert json.loads((output / "scores.json").read_text()) == scores
    assert scores["n"] == 6
    captions = json.loads((output / "captions.json").read_text())
    captioned = CaptionedSplit(load_rows(recipe.data, "validation"), captions, np.zeros(6))
    assert summarize(recipe.output, "validation", captioned) == scores
    assert scores["split"] == "validation"
    log = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert any("eval_CIDEr" in row for row in log)
    assert in_effect(load_recipe(str(output / "recipe.yaml"))) == in_effect(recipe)


@pytest.mark.usefixtures("without_meteor")
def test_a_finished_stage_is_scored_and_calibrated_on_grids_that_are_computed_once(
    tmp_path, caption_folder, monkeypatch
):
    encoded = []

    def counted(model, processor, rows, batch_size=32):
        encoded.append(len(rows))
        return encode(model, processor, rows, batch_size)

    monkeypatch.setattr(evaluation, "encode", counted)
    for module in (run, calibration, confidence):
        monkeypatch.setattr(module, "MIN_IMAGES", 6)
    recipe = small(tmp_path, caption_folder, epochs=1)
    scores = train(recipe)
    assert encoded == [6, 12]  # validation images, and the training images that bound what is familiar
    assert evaluation.evaluate(recipe.output, str(caption_folder), "validation") == scores
    report = json.loads((Path(recipe.output) / "confidence.json").read_text())
    assert report["n"] + report["fitted_on"] == 6
    assert (Path(recipe.output) / unfamiliar.FILE).is_file()


def test_the_model_has_learned(first_stage):
    log = [json.loads(line) for line in (Path(first_stage[0].output) / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in log if "loss" in row]
    assert losses[-1] < 0.85 * losses[0]


def test_the_best_checkpoint_by_validation_cider_is_kept(first_stage):
    recipe, scores = first_stage
    log = [json.loads(line) for line in (Path(recipe.output) / "log.jsonl").read_text().splitlines()]
    best = max(row["eval_CIDEr"] for row in log if "eval_CIDEr" in row)
    # The last scores come from whole images through the encoder, the earlier ones from grids in half precision.
    assert scores["CIDEr"] == pytest.approx(best, abs=0.05)


@pytest.mark.usefixtures("without_meteor")
@pytest.mark.parametrize("wins", [True, False])
def test_the_mean_of_the_last_epochs_is_kept_where_it_scores_at_least_the_best(
    wins, tmp_path, caption_folder, monkeypatch
):
    # With a rate of 0 all epochs and their mean are the same. A decoder with all signs turned is useless.
    def spoiled(checkpoints):
        return {name: w if name.startswith("encoder") else -w for name, w in average(checkpoints).items()}

    rate = 0.0 if wins else 5e-3
    monkeypatch.setattr(run, "average", average if wins else spoiled)
    recipe = small(tmp_path, caption_folder, average_last=2, learning_rate=rate, weight_decay=0.0)
    train(recipe)
    output = Path(recipe.output)
    log = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    said = next(row for row in log if "average_CIDEr" in row)
    evaluated = [row["eval_CIDEr"] for row in log if "eval_CIDEr" in row]
    assert said["average_CIDEr"] == evaluated[-1]
    assert said["average_kept"] == (evaluated[-1] >= max(evaluated[:-1])) == wins
    mean, kept = run.average(last_checkpoints(output, 2)), load_captioner(recipe.output)[0].state_dict()
    assert all(torch.allclose(kept[name], mean[name], atol=2e-3) for name in mean) == wins


def test_the_card_holds_the_measured_numbers_and_the_terms(first_stage):
    recipe, scores = first_stage
    card = ModelCard.load(Path(recipe.output) / "README.md")
    reported = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert reported["CIDEr"] == scores["CIDEr"]
    assert all(result.dataset_split == "validation" for result in card.data.eval_results)
    assert "The terms of its training data hold for this checkpoint too" in card.text
    assert "random weights" in card.text


def test_the_mistakes_are_counted_and_the_card_says_how_many(first_stage):
    recipe, _ = first_stage
    output = Path(recipe.output)
    captions = json.loads((output / "captions.json").read_text())
    counted = json.loads((output / "mistakes.json").read_text())
    assert counted == count_mistakes(captions, load_rows(recipe.data, "validation").captions)
    colour = counted["colour"]["captions"]
    card = (output / "README.md").read_text()
    assert f"| colour | {colour['named']} | {colour['contradicted']} | " in card
    assert "| sex | 0 | 0 | none named |" in card  # of discs and squares


@pytest.mark.usefixtures("without_meteor")
def test_the_vocabulary_comes_from_the_training_split_only(tmp_path, caption_folder):
    folder = tmp_path / "data"
    folder.mkdir()
    caption_split(12).to_parquet(str(folder / "train.parquet"))
    names = [name for name in caption_split(1).column_names if name.startswith("caption")]
    changed = caption_split(4).map(lambda row: {name: "zebra " + row[name] for name in names})
    changed.to_parquet(str(folder / "validation.parquet"))
    recipe = small(tmp_path, folder, epochs=1)
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
    write_card(Path(recipe.output))
    assert "Then trained on from the checkpoint" in (Path(recipe.output) / "README.md").read_text()


def test_a_frozen_encoder_does_not_move(first_stage):
    recipe, _ = first_stage
    torch.manual_seed(recipe.seed)
    fresh, _ = build(recipe, load_rows(recipe.data, "train").captions)
    trained, _ = load_captioner(recipe.output)
    kernel = fresh.encoder.trunk.conv1.weight
    assert torch.equal(trained.encoder.trunk.conv1.weight, kernel.half().float())


@pytest.mark.usefixtures("without_meteor")
def test_an_interrupted_stage_resumes_where_it_was(tmp_path, caption_folder):
    whole = small(tmp_path / "whole", caption_folder, epochs=4)
    train(whole)
    checkpoints = sorted((Path(whole.output) / "checkpoints").iterdir(), key=lambda p: int(p.name.split("-")[1]))
    part = small(tmp_path / "part", caption_folder, epochs=4, cache=whole.cache, resume=True)
    output = Path(part.output)
    (output / "checkpoints").mkdir(parents=True)
    shutil.copytree(checkpoints[0], output / "checkpoints" / checkpoints[0].name)
    for name in ("recipe.yaml", "tokenizer.json"):
        shutil.copy(Path(whole.output) / name, output)
    train(part)
    first, second = (load_captioner(recipe.output)[0].state_dict() for recipe in (whole, part))
    assert all(torch.allclose(first[name], second[name], atol=1e-5) for name in first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder": "transformer"}, "decoder must be one of"),
        ({"encoder": "resnet9000"}, "encoder must be the name .* not 'resnet9000'"),
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
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "PATH": ""}  # nor Java
    done = run_python(["train.py", "configs/smoke.yaml", *places, *small], ROOT, environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout[done.stdout.rindex('{\n  "model"') :])["n"] == 6
    assert "it/s" in done.stderr or "s/it" in done.stderr  # a progress bar


@pytest.mark.usefixtures("without_meteor")
def test_a_second_run_is_not_mixed_with_the_first(first_stage, tmp_path, caption_folder):
    recipe, _ = first_stage
    before = (Path(recipe.output) / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match="already holds a run"):
        train(replace(recipe, epochs=1))
    (tmp_path / "data").mkdir()
    for split in ("train", "validation"):
        other = captioned_images(6).dataset.map(lambda row: {"caption_0": "a zebra", "image": row["image"]})
        other.to_parquet(str(tmp_path / "data" / f"{split}.parquet"))
    with pytest.raises(InputError, match=r"with another vocabulary, of \d+ words instead of \d+"):
        train(replace(recipe, data=str(tmp_path / "data"), resume=True))
    assert (Path(recipe.output) / "model.safetensors").read_bytes() == before


def test_what_makes_no_model_is_refused_before_the_data_are_loaded(tmp_path):
    for options in ({"decoder": "transformer"}, {"hidden_size": 30}, {"encoder": "resnet9000"}):
        with pytest.raises(InputError, match=r"^(The recipe describes no model: (decoder|hidden_size)|encoder must)"):
            train(small(tmp_path, tmp_path / "no data", **({"num_attention_heads": 4} | options)))
