"""A captioner and a data set go to a Hub on loopback and come back, in processes that have no imgcap."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from loopback_hub import WRITER, Blob, hub
from PIL import Image
from processes import run_python

from imgcap.data.loading import load_rows
from imgcap.evaluation import meteor
from imgcap.evaluation.mistakes import count_mistakes
from imgcap.evaluation.run import caption_split, summarize
from imgcap.hub.card import write_card
from imgcap.inference.checkpoint import load_captioner
from imgcap.model import torchvision_ops
from imgcap.settings import ROOT

LOAD = """
import sys

sys.modules["imgcap"] = None  # importing imgcap fails
import torchvision_ops
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, pipeline

name, folder = sys.argv[1:]
model = AutoModelForImageTextToText.from_pretrained(name, trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained(name, trust_remote_code=True)
pictures = [Image.new(mode, (90, 60), 120) for mode in ("RGB", "L", "RGBA")]


def write(model, pictures):
    inputs = processor(images=pictures, return_tensors="pt").to(model.device, model.dtype)
    return processor.batch_decode(model.generate(**inputs), skip_special_tokens=True)


together = write(model, pictures)
assert len(together) == 3 and all(together), together
assert together == [write(model, [picture])[0] for picture in pictures]
half = AutoModelForImageTextToText.from_pretrained(name, trust_remote_code=True, dtype=torch.float16)
assert half.dtype == torch.float16 and all(write(half.eval(), pictures))
placed = AutoModelForImageTextToText.from_pretrained(name, trust_remote_code=True, device_map="cpu")
assert write(placed.eval(), pictures) == together
model.save_pretrained(folder)
processor.save_pretrained(folder)
again = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True).eval()
assert write(again, pictures) == together
for place in (name, folder):
    captioner = pipeline("image-text-to-text", model=place, trust_remote_code=True)
    for picture in pictures:
        [answer] = captioner(picture, text="")
        assert answer["generated_text"].strip(), answer
print(together[0], model.dtype, sep="\\n")
"""


@pytest.fixture(scope="module")
def there(exported_captioner, caption_folder, tmp_path_factory):
    """A Hub with a data set and with a captioner that `imgcap push-model` has pushed, with its scores on that data."""
    folder = shutil.copytree(exported_captioner, tmp_path_factory.mktemp("scored") / "captioner")
    rows = load_rows(str(caption_folder), "validation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meteor, "available", lambda: False)
        captioned = caption_split(str(folder), rows)
        scores = summarize("me/captioner", "validation", captioned)
    (folder / "scores.json").write_text(json.dumps(scores))
    (folder / "mistakes.json").write_text(json.dumps(count_mistakes(captioned.captions, rows.captions)))
    (folder / "recipe.yaml").write_text("data: me/shapes\n")
    (folder / "provenance.md").write_text("Random weights.\n")
    write_card(folder)
    with hub(datasets={"me/shapes": caption_folder}) as running:
        home = tmp_path_factory.mktemp("home")
        done = python(
            run_python, running, home, "-m", "imgcap", "push-model", "--repo", "me/captioner", "--model", folder
        )
        assert done.returncode == 0, done.stderr
        yield running


def python(run, there, home, *arguments, folder=ROOT):
    environment = os.environ | there.environment(home, WRITER) | {"PYTHONPATH": str(folder), "PATH": ""}
    return run(arguments, folder, environment)


def fresh_python(arguments, folder, environment):
    """As `run_python`, in a process that has imported nothing."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=250)


def test_a_pushed_captioner_loads_where_there_is_no_imgcap(there, exported_captioner, tmp_path):
    [snippet] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "hub.md").read_text(), re.DOTALL)
    (tmp_path / "load.py").write_text(LOAD + snippet)
    shutil.copy(ROOT / "tests" / "samples" / "coffee.jpg", tmp_path / "photo.jpg")
    shutil.copy(torchvision_ops.__file__, tmp_path)
    done = python(fresh_python, there, tmp_path / "hf", "load.py", "me/captioner", tmp_path / "saved", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    caption, dtype, answer = done.stdout.splitlines()
    model, processor = load_captioner(str(exported_captioner))
    grey = processor(images=Image.new("RGB", (90, 60), 120), return_tensors="pt")
    assert caption == processor.batch_decode(model.generate(**grey), skip_special_tokens=True)[0]
    assert dtype == "torch.float32"
    assert answer.startswith("[{")


def test_a_pushed_captioners_numbers_are_measured_again_from_ids_alone(there, tmp_path):
    pushed = there["models/me/captioner"]
    scores = json.loads(pushed.text("scores.json"))
    wrong = json.dumps(scores | {"CIDEr": scores["CIDEr"] + 0.1})
    marked = pushed.text("code/imgcap/__init__.py") + "print('this is the code on the Hub')\n"
    altered = {"scores.json": wrong, "code/imgcap/__init__.py": marked}
    pushed.commit("altered", pushed.files | {path: Blob(text.encode(), lfs=False) for path, text in altered.items()})
    (tmp_path / "reproduce.py").write_text(pushed.text("reproduce.py"))
    before = len(there.requests)
    done = python(run_python, there, tmp_path / "hf", "reproduce.py", folder=tmp_path)
    first, title, *rows = done.stdout.splitlines()
    assert first == "this is the code on the Hub", done.stderr
    assert title == "me/captioner, validation split of me/shapes, 6 images"
    ends = {line.split()[0]: line.split()[-1] for line in rows[1:]}
    assert ends.pop("METEOR") in {"Java", "same"}
    assert ends.pop("CIDEr") == "differs"
    assert set(ends.values()) == {"same"}
    assert done.returncode == 1
    assert any("datasets/me/shapes/resolve" in line for line in there.requests[before:])
