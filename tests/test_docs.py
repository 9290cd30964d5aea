"""The commands and snippets of the README and of docs/ are run, so that they stay true."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
from huggingface_hub import RepoCard
from loopback_hub import WRITER, hub
from processes import run_python
from running import free_port

from imgcap.accounts.accounts import Accounts
from imgcap.accounts.database import open_database
from imgcap.accounts.tokens import Tokens
from imgcap.model import torchvision_ops
from imgcap.settings import ROOT, Settings
from imgcap.training.recipe import load_recipe
from imgcap.training.run import train
from scripts.architecture import TARGET, picture

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page: page.read_text() for page in PAGES}
README = TEXTS[ROOT / "README.md"]
SAMPLES = ROOT / "tests" / "samples"
BLOCKS = [block for text in TEXTS.values() for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL)]
COMMANDS = list(dict.fromkeys(line for block in BLOCKS for line in block.splitlines() if line))
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def data_dir(command, tmp_path):
    """A data folder with the account and the token that the commands before this one in the documentation make."""
    settings = Settings(data_dir=tmp_path / "accounts", database_url="")
    database = open_database(settings)
    if " user add ada " not in command:
        accounts = Accounts(database, settings)
        accounts.create("ada", "a long enough password")
        if " token add ada " not in command:
            Tokens(database).add(accounts.get("ada").id, "my-agent")
        accounts.close()
    database.close()
    return settings.data_dir


def test_the_page_on_the_models_has_the_numbers_of_their_files():
    folder, page = ROOT / "models" / "attention", " ".join(TEXTS[ROOT / "docs" / "model.md"].split())
    confidence = json.loads((folder / "confidence.json").read_text())
    error, chance = (f"{confidence[name]:.3f}"[1:] for name in ("ece", "ece_by_chance"))
    assert f"calibration error is {error} over 10 bins, where a perfect curve would have {chance} by chance" in page
    mistakes = json.loads((folder / "mistakes.json").read_text())
    kinds = [mistakes[name] for name in ("sex", "count", "colour of the same thing")]
    for kind in kinds:
        low, high = kind["captions"]["interval"]
        assert f"{kind['captions']['share']:.1%} ({low:.1%} to {high:.1%})" in page
    for judged in ("captions_left_out", "people_left_out"):
        sex, count, colour = (f"{kind[judged]['share']:.1%}" for kind in kinds)
        assert f"{sex}, {count} and {colour} of " in page


def test_every_command_is_run_here_or_by_ci():
    known = (
        "make app",
        "make test",
        "make setup-dev",
        ".venv/bin/python -m imgcap ",
        ".venv/bin/python train.py configs/",
    )
    assert [line for line in COMMANDS if not line.startswith(known)] == []
    run_by_ci = (ROOT / ".ci" / "run").read_text()
    assert "make test" in run_by_ci
    assert "make setup-dev" in run_by_ci


@pytest.fixture(scope="module")
def loopback_hub(exported_captioner, caption_folder):
    with hub(models={"me/captioner": exported_captioner}, datasets={"me/shapes": caption_folder}) as there:
        yield there


@pytest.mark.parametrize("command", [c for c in COMMANDS if " -m imgcap " in c])
def test_a_command_of_imgcap(command, caption_folder, data_dir, loopback_hub, tmp_path, monkeypatch):
    shutil.copy(SAMPLES / "coffee.jpg", tmp_path / "photo.jpg")
    shutil.copy(SAMPLES / "clock_motion.png", tmp_path / "blurred.jpg")
    for name in ("sharp", "blurred"):
        (tmp_path / name).mkdir()
    for sample in ("coffee.jpg", "astronaut.jpg", "rocket.jpg", "chelsea.png"):
        shutil.copy(SAMPLES / sample, tmp_path / "sharp")
    shutil.copy(SAMPLES / "clock_motion.png", tmp_path / "blurred")
    words = shlex.split(command)
    if "evaluate" in words:
        words += ["--data", str(caption_folder), "--limit", "2"]
        monkeypatch.setenv("PATH", "")  # no Java, whose METEOR takes longer than all the rest
    environment = os.environ | {"PYTHONPATH": str(ROOT), "IMGCAP_DATA_DIR": str(data_dir)}
    if any(word.startswith("push-") for word in words):
        environment |= loopback_hub.environment(tmp_path / "hf", WRITER) | {"IMGCAP_DATABASE_URL": "postgresql://x"}
    words = [str(ROOT / word) if word.startswith("models/") else word for word in words]
    done = run_python(words[1:], tmp_path, environment, "a long enough password\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout


TRAINED = [c.split()[2] for c in COMMANDS if " train.py " in c and "smoke" not in c]  # test_training runs smoke's


@pytest.mark.usefixtures("without_meteor")
@pytest.mark.parametrize("config", [*TRAINED, "configs/merge.yaml", "configs/vgg16.yaml"])
def test_a_recipe_on_a_few_pictures(config, tmp_path, caption_folder, tiny_captioner):
    small = ["epochs=1", "batch_size=4", "min_count=1", "encoder_weights=none", "feature_views=1", "num_beams=2",
             "hidden_size=32", "num_attention_heads=2", "workers=0", "train_pictures=4", "validation_pictures=2",
             f"data={caption_folder}", f"output={tmp_path}/run", f"cache={tmp_path}/cache"]  # fmt: skip
    recipe = load_recipe(str(ROOT / config), small)
    if recipe.init_from:
        recipe.init_from = str(tiny_captioner)
    assert train(recipe)["n"] == 2


def test_make_app_starts_the_app(tmp_path):
    port = free_port()
    environment = os.environ | {"IMGCAP_PORT": str(port), "IMGCAP_DATA_DIR": str(tmp_path / "data")}
    environment["PYTHONFAULTHANDLER"] = "1"
    process = subprocess.Popen(["make", "app"], cwd=ROOT, env=environment, start_new_session=True)
    try:
        assert _answers(f"http://127.0.0.1:{port}/login", process)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGABRT)  # it says where each thread was
            process.wait(60)
            raise


def _answers(url: str, process: subprocess.Popen) -> bool:
    for _ in range(240):
        if process.poll() is not None:
            return False
        try:
            return "imgcap" in httpx.get(url, follow_redirects=True).raise_for_status().text
        except httpx.HTTPError:  # not there yet, or there and not ready
            time.sleep(0.5)
    return False


def test_the_snippet_that_loads_the_model_without_imgcap(tmp_path):
    snippet = next(s for s in SNIPPETS if "pipeline(" in s).replace("models/attention", str(ROOT / "models/attention"))
    shutil.copy(torchvision_ops.__file__, tmp_path)
    shutil.copy(SAMPLES / "astronaut.jpg", tmp_path / "photo.jpg")
    (tmp_path / "snippet.py").write_text("import torchvision_ops\n" + snippet)
    environment = {"PATH": "", "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "snippet.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "generated_text" in done.stdout


def test_the_picture_of_the_model_is_the_one_that_its_script_draws():
    assert TARGET.read_text() == picture(), "run `python -m scripts.architecture`"


def test_the_front_matter_is_a_spaces():
    data = RepoCard(README).data
    assert data.sdk == "gradio"
    assert data.sdk_version == version("gradio")
    assert (ROOT / data.app_file).is_file()
    assert f"gradio=={data.sdk_version}" in (ROOT / "requirements.txt").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_local_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)\)", TEXTS[page]):
        assert "://" in link or (page.parent / link).exists(), link


def test_the_readme_fits_on_a_few_screens():
    assert len(README.splitlines()) <= 150


def test_no_model_file_is_too_large_for_a_checkpoint():
    files = list(Path(ROOT / "models").rglob("*.safetensors"))
    assert files
    assert all(path.stat().st_size < 95e6 for path in files)
