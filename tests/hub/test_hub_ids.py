"""Hub ids work as folders do: data set and captioner come over HTTP from a Hub on loopback, in a fresh process."""

import json
import os
import subprocess
import sys

from hub import hub

from imgcap.evaluation.run import evaluate
from imgcap.settings import ROOT


def run(endpoint, home, *arguments):
    environment = os.environ | {
        "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "0",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250
    )


def test_data_set_and_captioner_load_by_their_ids(tiny_captioner, caption_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")  # no Java
    with hub(models={"me/captioner": tiny_captioner}, datasets={"me/flickr": caption_folder}) as (endpoint, requests):
        done = run(
            endpoint, tmp_path, "-m", "imgcap", "evaluate", "--model", "me/captioner", "--data", "me/flickr",
            "--split", "test", "--json",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    by_id, by_folder = json.loads(done.stdout), evaluate(str(tiny_captioner), str(caption_folder), "test")
    assert by_id | {"model": None} == by_folder | {"model": None}
    fetched = [line.split("/")[-1] for line in requests if line.startswith("GET") and "/resolve/" in line]
    assert "model.safetensors" in fetched
    assert "test-00000-of-00001.parquet" in fetched
    assert not any(name.endswith(".py") for name in fetched)  # the app builds its own classes


def test_an_id_that_the_hub_does_not_know_is_said(tiny_captioner, caption_folder, tmp_path):
    with hub() as (endpoint, _):
        data = run(endpoint, tmp_path, "-m", "imgcap", "evaluate", "--model", tiny_captioner, "--data", "me/none")
        model = run(endpoint, tmp_path, "-m", "imgcap", "evaluate", "--model", "me/none", "--data", caption_folder)
    assert (data.returncode, model.returncode) == (2, 2)
    assert "No data set at 'me/none'" in data.stderr
    assert "No captioner can be loaded from 'me/none'" in model.stderr
    assert "Traceback" not in data.stderr + model.stderr
