"""Hub ids work as folders do: data set and captioner come over HTTP from a Hub on loopback, in a fresh process."""

import json
import os
import subprocess
import sys

from loopback_hub import hub

from imgcap.evaluation.run import evaluate
from imgcap.settings import ROOT


def run(there, home, *arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT, env=os.environ | there.environment(home), capture_output=True, text=True, timeout=250,
    )  # fmt: skip


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


def test_an_id_that_the_hub_does_not_know_is_said(tiny_captioner, caption_folder, tmp_path):
    with hub() as there:
        data = run(there, tmp_path, "-m", "imgcap", "evaluate", "--model", tiny_captioner, "--data", "me/none")
        model = run(there, tmp_path, "-m", "imgcap", "evaluate", "--model", "me/none", "--data", caption_folder)
    assert (data.returncode, model.returncode) == (2, 2)
    assert "No data set at 'me/none'" in data.stderr
    assert "No captioner can be loaded from 'me/none'" in model.stderr
    assert "Traceback" not in data.stderr + model.stderr
