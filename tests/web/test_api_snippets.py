"""The documented ways to call the API, run word for word against a server."""

import os
import re
import shutil
import subprocess
import sys

import pytest
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


def run(server, command, folder):
    shutil.copy(SHARP, folder / "photo.jpg")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_gradio_client(server, ada, tmp_path):
    code = block("python", "gradio_client").replace("http://127.0.0.1:7860", server.url)
    output = run(server, [sys.executable, "-c", code], tmp_path)
    assert re.search(r"^[A-Z].*\.$", output, re.MULTILINE)
    assert "'caption': None" in output


@pytest.mark.skipif(shutil.which("curl") is None and os.environ.get("CI") != "true", reason="curl is not installed")
def test_curl(server, ada, tmp_path):
    code = block("sh", "curl").replace("http://127.0.0.1:7860", server.url)
    output = run(server, ["sh", "-ec", code], tmp_path)
    assert '"valid": true' in output
    assert '"caption": "' in output
