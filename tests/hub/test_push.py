"""`imgcap push-...` against a Hub on loopback, by huggingface_hub's real client in processes of their own."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, RepoCard
from loopback_hub import READER, STRANGER, WRITER, hub
from processes import run_python

from imgcap.settings import ROOT


@pytest.fixture(scope="module")
def trained(exported_captioner, tmp_path_factory):
    """The folder of a captioner as train.py leaves it: with its ONNX files, scores, card and checkpoints."""
    folder = shutil.copytree(exported_captioner, tmp_path_factory.mktemp("trained") / "captioner")
    shipped = ROOT / "models" / "attention"
    for name in ("README.md", "scores.json", "recipe.yaml", "provenance.md", "mistakes.json"):
        shutil.copy(shipped / name, folder)
    (folder / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    (folder / "checkpoints" / "checkpoint-1" / "optimizer.pt").write_bytes(b"not for the Hub")
    return folder


@pytest.fixture
def imgcap(tmp_path):
    """Run a command with the Hub of a test."""

    def run(there, *arguments, token=WRITER, **variables):
        environment = os.environ | there.environment(tmp_path / "hf", token) | variables
        done = run_python(["-m", "imgcap", *arguments], ROOT, environment)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


def said(done):
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stderr


def test_a_captioner_is_pushed_once_and_then_only_what_changed(imgcap, trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "captioner")
    with hub() as there:
        listed = imgcap(there, "push-model", "--repo", "captioner", "--model", folder, "--dry-run")
        assert re.search(r"new +\d+\.\d{3} MB  model\.safetensors\n", listed.stdout), listed.stderr
        assert not there.repositories

        there.failing["POST /api/models/me/captioner/commit"] = 1
        assert "try again" in said(imgcap(there, "push-model", "--repo", "captioner", "--model", folder, "--private"))
        sent = len([line for line in there.requests if line.startswith("PUT")])
        assert sent > 5
        done = imgcap(there, "push-model", "--repo", "me/captioner", "--model", folder)
        assert done.returncode == 0, done.stderr
        pushed = there["models/me/captioner"]
        assert pushed.commits[-1].oid in done.stdout
        assert len([line for line in there.requests if line.startswith("PUT")]) == sent  # nothing was sent twice
        assert pushed.private

        assert pushed.files["model.safetensors"].lfs
        assert pushed.files["onnx/encoder_model_quantized.onnx"].lfs
        assert {"onnx/export.json", "modeling_imgcap.py", "reproduce.py"} <= pushed.files.keys()
        assert not any(path.startswith("checkpoints") or path.endswith(".pyc") for path in pushed.files)
        card = ModelCard(pushed.text("README.md"))
        assert {entry["src"] for entry in card.data.widget} <= pushed.files.keys()
        assert all(entry["output"]["text"].endswith(".") for entry in card.data.widget)
        assert "me/captioner" in card.text
        assert "<this model>" not in card.content
        [result] = [one for one in card.data.eval_results if one.metric_name == "CIDEr"]
        assert result.metric_value == json.loads((folder / "scores.json").read_text())["CIDEr"]

        commits = len(pushed.commits)
        again = imgcap(there, "push-model", "--repo", "me/captioner", "--model", folder)
        assert "no new commit" in again.stdout
        assert len(pushed.commits) == commits

        (folder / "onnx" / "encoder_model.onnx").unlink()
        assert "is missing: run `imgcap export" in said(
            imgcap(there, "push-model", "--repo", "captioner", "--model", folder)
        )
        shutil.rmtree(folder / "onnx")
        without = imgcap(there, "push-model", "--repo", "me/captioner", "--model", folder)
        assert "There are no ONNX files" in without.stderr
        assert not any(path.startswith("onnx/") for path in pushed.files)


def test_what_hinders_a_push_is_said_in_a_sentence(imgcap, trained, tmp_path):
    push = ("push-model", "--model", trained, "--repo")
    with hub() as there:
        assert "There is no token for the Hub" in said(imgcap(there, *push, "me/captioner", token=""))
        assert "does not know this token" in said(imgcap(there, *push, "me/captioner", token="hf_other"))
        assert "may not write to the model 'me/captioner'" in said(imgcap(there, *push, "me/captioner", token=READER))
        assert "may not write" in said(imgcap(there, *push, "me/captioner", token=STRANGER))
        assert "is no repository's id" in said(imgcap(there, *push, "me/a captioner"))
        assert "without the kind before it" in said(imgcap(there, *push, "datasets/me/captioner"))
        assert "lacks README.md and cannot be pushed" in said(
            imgcap(there, "push-model", "--model", tmp_path, "--repo", "captioner")
        )
        space = ("push-space", "--repo", "app", "--model")
        assert "The Hub has no model 'me/none'" in said(imgcap(there, *space, "me/none"))
        there.create("models", "me/other")
        assert "is no captioner of imgcap" in said(imgcap(there, *space, "me/other"))
        assert "--secret SOMETHING has no value" in said(imgcap(there, *space, "me/other", "--secret", "SOMETHING"))
        assert "choose one of cpu-basic" in said(imgcap(there, *space, "me/other", "--hardware", "abacus"))
        assert not [path for path in there.requests if "commit" in path]
        there.put("models", "me/captioner", trained)
        there.create("spaces", "me/app", sdk="docker")
        assert "is made with docker and not with Gradio" in said(imgcap(there, *space, "me/captioner"))
    assert "The Hub cannot be reached" in said(imgcap(there, *push, "me/captioner"))


def test_a_data_sets_card_keeps_what_a_person_wrote(imgcap, caption_folder, tmp_path):
    with hub(datasets={"me/shapes": caption_folder}) as there:
        first = imgcap(there, "push-dataset-card", "--repo", "me/shapes")
        assert first.returncode == 0, first.stderr
        card = RepoCard(there["datasets/me/shapes"].text("README.md"))
        assert card.data.task_categories == ["image-to-text"]
        assert card.data.size_categories == ["n<1K"]
        assert "| train | 12 | 60 | 5 |" in card.text
        assert 'load_dataset("me/shapes", split="train")' in card.text

        folder = tmp_path / "edited"
        shutil.copytree(caption_folder, folder)
        own = "---\nlicense: cc0-1.0\nlanguage: [de]\n---\n\n# Shapes\n\nDrawn by me.\n\n"
        (folder / "README.md").write_text(
            own + card.text[card.text.index("<!--") :].replace("12", "99") + "\nThe end.\n"
        )
        there.put("datasets", "me/edited", folder)
        imgcap(there, "push-dataset-card", "--repo", "me/edited", "--data", "me/shapes")
        text = there["datasets/me/edited"].text("README.md")
        assert RepoCard(text).data.license == "cc0-1.0"
        assert RepoCard(text).data.language == ["de"]
        assert text.index("Drawn by me.") < text.index("| train | 12 |") < text.index("The end.")
        assert "99" not in text


def test_a_space_gets_its_files_settings_and_hardware(imgcap, trained):
    with hub(models={"me/captioner": trained, "me/large": Path(trained)}) as there:
        push = ("push-space", "--repo", "app", "--model", "me/captioner", "--hardware", "zero-a10g")
        given = (
            "--secret",
            "IMGCAP_DATABASE_URL",
            "--secret",
            "IMGCAP_FIRST_USER=ada",
            "--variable",
            "IMGCAP_OPERATOR=me",
        )
        listed = imgcap(there, *push, *given, "--dry-run", IMGCAP_DATABASE_URL="postgresql://somewhere")
        assert "imgcap/captioner.py" in listed.stdout
        assert "postgresql" not in listed.stdout + listed.stderr
        done = imgcap(there, *push, *given, IMGCAP_DATABASE_URL="postgresql://somewhere")
        assert done.returncode == 0, done.stderr
        space = there["spaces/me/app"]
        assert space.sdk == "gradio"
        assert space.hardware == "zero-a10g"
        assert space.secrets == {"IMGCAP_DATABASE_URL": "postgresql://somewhere", "IMGCAP_FIRST_USER": "ada"}
        assert space.variables == {"IMGCAP_MODEL": "me/captioner", "IMGCAP_OPERATOR": "me"}
        data = RepoCard(space.text("README.md")).data
        assert (data.sdk, data.app_file, data.models) == ("gradio", "app.py", ["me/captioner"])
        assert len(data.short_description) <= 60
        [preload] = data.preload_from_hub
        assert "onnx/encoder_model_quantized.onnx" in preload
        assert "encoder_model.onnx" not in preload
        packages = space.text("requirements.txt")
        assert f"gradio=={data.sdk_version}\n" in packages
        assert all("==" in line for line in packages.splitlines())
        assert "torch" not in packages
        assert not any(blob.lfs and len(blob.content) > 10e6 for blob in space.files.values())

        assert "no new commit" in imgcap(there, *push).stdout
        assert sum("/hardware" in line for line in there.requests) == 0  # it was asked for as the Space was made

        there["models/me/captioner"].private = True  # what builds a Space has no token
        imgcap(there, *push)
        assert "preload_from_hub" not in space.text("README.md")
