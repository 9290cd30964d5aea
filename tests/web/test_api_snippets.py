"""The documented ways to call the API, run word for word against a server."""

import os
import re
import shutil
import subprocess

import pytest
from processes import run_python
from running import PASSWORD, ROOT, SHARP

PAGES = "\n".join((ROOT / name).read_text() for name in ("README.md", "docs/using.md"))


@pytest.fixture
def ada(server):
    client, form = server.client(), {"username": "ada", "password": PASSWORD}
    client.post("/login/register", data=form)  # refused where the other snippet has registered her already
    assert client.post("/login", data=form).status_code == 200


def block(language, word):
    found = next(code for code in re.findall(rf"```{language}\n(.*?)```", PAGES, re.DOTALL) if word in code)
    assert PASSWORD in found
    return found


def test_gradio_client(server, ada, tmp_path):
    code = block("python", "gradio_client").replace("http://127.0.0.1:7860", server.url)
    shutil.copy(SHARP, tmp_path / "photo.jpg")
    done = run_python(["-c", code], tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^[A-Z].*\.$", done.stdout, re.MULTILINE)
    assert "'caption': None" in done.stdout


@pytest.mark.skipif(shutil.which("curl") is None and os.environ.get("CI") != "true", reason="curl is not installed")
def test_curl(server, ada, tmp_path):
    code = block("sh", "curl").replace("http://127.0.0.1:7860", server.url)
    shutil.copy(SHARP, tmp_path / "photo.jpg")
    done = subprocess.run(["sh", "-ec", code], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert '"valid": true' in done.stdout
    assert '"caption": "' in done.stdout
