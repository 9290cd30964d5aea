"""Hub ids work as folders do: data set and captioner come over HTTP from a Hub on loopback, in a fresh process."""

import json
import os

from huggingface_hub import ModelCard
from loopback_hub import WRITER, Blob, hub
from processes import run_python

from imgcap.evaluation.run import evaluate
from imgcap.settings import ROOT


def run(there, home, *arguments):
    return run_python(arguments, ROOT, os.environ | there.environment(home))


def test_data_set_and_captioner_load_by_their_ids(tiny_captioner, caption_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")  # no Java
    with hub(models={"me/captioner": tiny_captioner}, datasets={"me/flickr": caption_folder}) as there:
        done = run(
            there, tmp_path, "-m", "imgcap", "evaluate", "--model", "me/captioner", "--data", "me/flickr",
            "--split", "test", "--json",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    by_id, by_folder = json.loads(done.stdout), evaluate(str(tiny_captioner), str(caption_folder), "test")
    assert by_id | {"model": None} == by_folder | {"model": None}
    fetched = there.downloads()
    assert "model.safetensors" in fetched
    assert "test-00000-of-00001.parquet" in fetched
    assert not any(name.endswith(".py") for name in fetched)  # the app builds its own classes


def test_a_revision_is_served_from_what_its_engine_needs_and_without_a_network_afterwards(exported_captioner, tmp_path):
    photo = ROOT / "tests" / "samples" / "coffee.jpg"

    def caption(there, model):
        environment = os.environ | there.environment(tmp_path / "hf") | {"IMGCAP_MODEL": model}
        return run_python(["-m", "imgcap", "caption", photo, "--json"], ROOT, environment)

    with hub(models={"me/captioner": exported_captioner}, datasets={"me/shapes": tmp_path}) as there:
        repository = there["models/me/captioner"]
        repository.tags["v1"] = repository.commits[-1].oid
        repository.commit("broken", {"config.json": Blob(b'{"model_type": "bert"}', lfs=False)})
        first = caption(there, "me/captioner@v1")
        assert first.returncode == 0, first.stderr
        fetched = there.downloads()
        assert sum(file.endswith("_quantized.onnx") for file in fetched) == 3
        assert not {"model.safetensors", "onnx/encoder_model.onnx"} & set(fetched)
        assert "has no revision 'v2' on the Hub" in caption(there, "me/captioner@v2").stderr
        broken = caption(there, "me/captioner")
    assert broken.returncode == 2
    assert "No captioner can be loaded from 'me/captioner'" in broken.stderr
    again = caption(there, "me/captioner@v1")
    assert again.stdout == first.stdout, again.stderr
    unknown = caption(there, "me/other")
    assert "the Hub cannot be reached, nor was the model downloaded before" in unknown.stderr


def test_training_goes_on_from_a_pushed_captioner_and_pushes_what_comes_of_it(tiny_captioner, caption_folder, tmp_path):
    with hub(models={"me/captioner": tiny_captioner}, datasets={"me/shapes": caption_folder}) as there:
        chosen = [
            "data=me/shapes", "init_from=me/captioner", "push_to=second", f"output={tmp_path}/run", "epochs=1",
            f"cache={tmp_path}/cache", "feature_views=1", "batch_size=4", "num_beams=2", "validation_pictures=2",
        ]  # fmt: skip
        environment = os.environ | there.environment(tmp_path / "hf", WRITER) | {"JAVA_HOME": "", "PATH": ""}
        command = ["train.py", "configs/own.yaml", *chosen]
        early = run_python(command, ROOT, environment | {"HF_TOKEN": ""})
        assert early.stderr.startswith("There is no token for the Hub")
        assert not (tmp_path / "run").exists()
        done = run_python(command, ROOT, environment)
        assert done.returncode == 0, done.stderr
        assert f"Pushed to {there.url}/me/second" in done.stdout
        pushed = there["models/me/second"]
    assert "Then trained on from the checkpoint `me/captioner`." in pushed.text("provenance.md")
    assert "model.safetensors" in pushed.files
    card = ModelCard(pushed.text("README.md"))
    assert card.data.datasets == ["me/shapes"]
    assert not any(path.startswith("checkpoints") for path in pushed.files)
    assert "push_to" not in pushed.text("recipe.yaml")


def test_an_id_that_the_hub_does_not_know_is_said(tiny_captioner, caption_folder, tmp_path):
    with hub() as there:
        data = run(there, tmp_path, "-m", "imgcap", "evaluate", "--model", tiny_captioner, "--data", "me/none")
        model = run(there, tmp_path, "-m", "imgcap", "evaluate", "--model", "me/none", "--data", caption_folder)
    assert (data.returncode, model.returncode) == (2, 2)
    assert "No data set at 'me/none'" in data.stderr
    assert "No captioner can be loaded from 'me/none'" in model.stderr
    assert "Traceback" not in data.stderr + model.stderr
