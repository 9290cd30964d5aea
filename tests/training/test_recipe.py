import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from recipes import small

from imgcap.errors import InputError
from imgcap.settings import ROOT
from imgcap.training.recipe import Recipe, check_output, in_effect, load_recipe, save_recipe

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
SHAPE = {
    "encoder": "resnet50", "decoder": "merge", "hidden_size": 512, "num_attention_heads": 8, "tie_word_embeddings": True
}  # fmt: skip


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_a_recipe(path):
    recipe = load_recipe(str(path))
    assert recipe.output == f"runs/{path.stem}"
    written = yaml.safe_load(path.read_text())
    assert written.keys() <= in_effect(recipe).keys(), "the file says something that has no effect"


def test_the_command_line_overrides_the_file():
    recipe = load_recipe(str(ROOT / "configs" / "smoke.yaml"), ["epochs=1.5", "augmentation.flip=0", "data=here"])
    assert (recipe.epochs, recipe.augmentation.flip, recipe.data) == (1.5, 0, "here")
    assert load_recipe(str(ROOT / "configs" / "smoke.yaml"), ["caption_columns=[alt]"]).caption_columns == ["alt"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochz=3", "epochz"), ("epochs=many", "many"), ("augmentation.flop=1", "flop"), ("decoder=[1,2]", "decoder"),
        ("objective=cider", "objective must be cross_entropy or self_critical, not 'cider'"),
        ("start_share=2", "start_share must be from 0 to 1"), ("batch_size=0", "batch_size must be above 0"),
        ("label_smoothing=1", "label_smoothing must be"), ("train_pictures=-1", "train_pictures must not be negative"),
        ("max_length=2", "max_length must leave room"),
        ("epochs=0", "epochs must be above 0, unless captioners are mixed or joined"),
        ("encoder_stages=-1", "encoder_stages must not be negative"), ("join=[runs/a]", "give it as init_from"),
        ("encoder_from=runs/a", "give it as init_from"), ("mix=[runs/a]", "give it as init_from"),
    ],
)  # fmt: skip
def test_a_wrong_key_or_value_is_named(override, message):
    with pytest.raises(InputError, match=message):
        load_recipe(str(ROOT / "configs" / "smoke.yaml"), [override])


@pytest.mark.parametrize("options", [{"samples": 1}, {"temperature": 0.0}])
def test_self_critical_training_needs_draws_that_differ(options):
    Recipe(**options)  # has no effect on cross-entropy
    with pytest.raises(InputError, match="at least 2 samples"):
        Recipe(objective="self_critical", **options)


# What is saved beside a model


def test_fields_without_effect_are_left_out():
    fresh = in_effect(Recipe())
    assert "resume" not in fresh
    assert not {"samples", "temperature", "workers", "init_from", "caption_columns"} & fresh.keys()
    assert fresh["label_smoothing"] == 0.1
    assert "num_attention_heads" not in in_effect(Recipe(decoder="merge"))
    tuned = in_effect(Recipe(init_from="runs/a", encoder_learning_rate=1e-5))
    assert not {"decoder", "encoder_weights", "min_count", "cache", "feature_views"} & tuned.keys()
    assert "augmentation" in tuned
    critical = in_effect(Recipe(objective="self_critical", feature_views=1))
    assert "label_smoothing" not in critical
    assert "augmentation" not in critical
    assert critical["samples"] == 5


@pytest.mark.parametrize("recipe", [
    Recipe(init_from="runs/merge-tuned", objective="self_critical", resume=True), Recipe(decoder="merge"),
    Recipe(decoder="merge", caption_columns=["alt"], encoder_learning_rate=1e-5),
])  # fmt: skip
def test_a_saved_recipe_says_the_models_shape_and_is_read_back(recipe, tmp_path):
    save_recipe(tmp_path / "recipe.yaml", recipe, SHAPE)
    saved = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert saved["decoder"] == "merge"
    assert "num_attention_heads" not in saved
    assert [name for name in Recipe.__dataclass_fields__ if name in saved] == list(saved)
    again = load_recipe(str(tmp_path / "recipe.yaml"))
    assert in_effect(again) == in_effect(recipe)


# Output folders


@pytest.fixture
def begun(tmp_path):
    """The recipe of a run that was interrupted after its first epoch."""
    recipe = small(tmp_path, tmp_path / "data")
    output = Path(recipe.output)
    (output / "checkpoints" / "checkpoint-3").mkdir(parents=True)
    save_recipe(output / "recipe.yaml", recipe, vars(recipe))
    return recipe


def test_a_folder_that_holds_a_run_is_refused_unless_resuming(begun, tmp_path):
    with pytest.raises(InputError, match=r"already holds a run: give another output, remove the folder, or .*resume"):
        check_output(begun)
    check_output(small(tmp_path, tmp_path / "data", resume=True))
    finished = small(tmp_path / "finished", tmp_path / "data")
    Path(finished.output).mkdir(parents=True)
    check_output(finished)  # an empty folder holds no run
    (Path(finished.output) / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="already holds a run"):
        check_output(finished)


@pytest.mark.parametrize(
    ("change", "name"),
    [({"epochs": 9}, "epochs"), ({"init_from": "runs/other"}, "init_from"), ({"hidden_size": 64}, "hidden_size"),
     ({"objective": "self_critical"}, "objective"), ({"encoder_learning_rate": 1e-5}, "encoder_learning_rate")],
)  # fmt: skip
def test_a_run_is_not_resumed_with_another_recipe(begun, tmp_path, change, name):
    with pytest.raises(InputError, match=f"another recipe: {name} was .* and is now"):
        check_output(small(tmp_path, tmp_path / "data", resume=True, **change))


def test_places_may_differ_where_a_run_is_resumed(begun, tmp_path):
    moved = {"data": str(tmp_path / "moved"), "cache": str(tmp_path / "elsewhere"), "encoder_weights": "a/file.pth"}
    check_output(small(tmp_path, **({"source": moved.pop("data")} | moved), resume=True))


def test_nothing_to_resume_from_is_said(begun, tmp_path):
    with pytest.raises(InputError, match=r"no checkpoint in .* to resume from"):
        check_output(small(tmp_path / "other", tmp_path / "data", resume=True))
    (Path(begun.output) / "recipe.yaml").unlink()
    with pytest.raises(InputError, match=r"recipe\.yaml is missing"):
        check_output(small(tmp_path, tmp_path / "data", resume=True))


def test_a_recipe_is_read_and_refused_without_torch():
    code = """
import runpy, sys
sys.argv = ["train.py", "configs/none.yaml"]
try:
    runpy.run_path("train.py", run_name="__main__")
except SystemExit as end:
    print(end)
print([name for name in ("torch", "datasets", "transformers", "numpy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "There is no recipe at 'configs/none.yaml': give one of the files in configs/.", "[]"
    ], done.stderr  # fmt: skip
