"""A Space goes to a Hub on loopback, comes back into an empty folder, and is built, started and used as there.

Its environment has exactly what its requirements.txt asks for: links to the packages of this one, or with
`IMGCAP_TEST_INSTALL=1` (`.ci/space`) a real installation, with what Hugging Face installs beside it.
"""

import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from browsing import CHROMIUM, PATIENCE, give, reading
from environments import linked_environment
from gradio_client import Client, handle_file
from huggingface_hub import RepoCard
from loopback_hub import WRITER, hub
from playwright.sync_api import expect, sync_playwright
from reverse_proxy import reverse_proxy
from running import BLURRED, PASSWORD, ROOT, SHARP, run_app, serve

REAL = "IMGCAP_TEST_INSTALL" in os.environ
PATH = "/spaces/imgcap"
NOISE = r"Exception ignored in: <function BaseEventLoop\.__del__.*?Invalid file descriptor: -1\n"
PRELOAD = "import sys, huggingface_hub as hub\nfor file in sys.argv[2:]: hub.hf_hub_download(sys.argv[1], file)"

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1800 if REAL else 300)]


@pytest.fixture(scope="module")
def space(exported_captioner, tmp_path_factory):
    """The Space's folder, the Python it runs in, and its variables and secrets; the Hub is gone by then."""
    folder, home = tmp_path_factory.mktemp("space"), tmp_path_factory.mktemp("home")
    secrets = {"IMGCAP_FIRST_USER": "ada", "IMGCAP_FIRST_PASSWORD": PASSWORD}
    with hub(models={"me/captioner": exported_captioner}) as there:
        here = there.environment(home / "mine", WRITER)
        given = [word for name in secrets for word in ("--secret", name)]
        push = [sys.executable, "-m", "imgcap", "push-space", "--repo", "app", "--model", "me/captioner", *given]
        subprocess.run(push, cwd=ROOT, env=os.environ | here | secrets, check=True)
        pushed = there["spaces/me/app"]
        pushed.save(folder)
        python = build(folder, tmp_path_factory.mktemp("environment"))
        for line in RepoCard((folder / "README.md").read_text()).data.preload_from_hub:
            name, files = line.split()
            command = [python, "-c", PRELOAD, name, *files.split(",")]
            subprocess.run(command, cwd=folder, env=there.environment(home / "theirs"), check=True)
        assert "model.safetensors" not in there.downloads()
        environment = there.environment(home / "theirs") | pushed.variables | pushed.secrets
    return folder, python, environment


def build(folder: Path, environment: Path) -> Path:
    """Install what a Space's folder asks for, and return the Python that has it."""
    requirements = (folder / "requirements.txt").read_text().splitlines()
    if not REAL:
        return linked_environment(environment, requirements)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    version = RepoCard((folder / "README.md").read_text()).data.sdk_version
    theirs = [f"gradio[oauth,mcp]=={version}", "uvicorn>=0.14.0", "websockets>=10.4", "spaces"]
    pip = [environment / "bin" / "pip", "install", "--quiet", "-r", folder / "requirements.txt", *theirs]
    subprocess.run(pip, check=True)
    return environment / "bin" / "python"


@contextmanager
def awake(space, data_dir, monkeypatch, **variables):
    """The Space, running as Hugging Face starts it."""
    folder, python, environment = space
    for name in [name for name in os.environ if name.startswith(("IMGCAP_", "PYTHON"))]:
        monkeypatch.delenv(name)
    theirs = {"SYSTEM": "spaces", "SPACE_ID": "me/app", "SPACE_HOST": "me-app.hf.space", **variables}
    for name, value in (environment | theirs).items():
        monkeypatch.setenv(name, value)
    with run_app(data_dir, environment["IMGCAP_MODEL"], [python, "app.py"], folder, trusted_proxies="127.0.0.1") as app:
        yield app


def test_a_space_answers_programs_and_people_behind_a_proxy_and_in_a_frame(space, tmp_path, monkeypatch):
    with ExitStack() as stack:
        chosen = {"GRADIO_ROOT_PATH": PATH, "IMGCAP_FRAME_ANCESTORS": "'self' http://localhost:*"}
        app = stack.enter_context(awake(space, tmp_path / "data", monkeypatch, **chosen))
        url = stack.enter_context(reverse_proxy(app.url, PATH))
        log = app.log.read_text()
        assert "The data folder does not outlast this machine" in log

        client = Client(f"{url}/", auth=("ada", PASSWORD), ssl_verify=False, verbose=False)
        answer = client.predict(image=handle_file(str(SHARP)), api_name="/caption")
        assert answer["caption"].endswith(".")
        assert client.predict(image=handle_file(str(BLURRED)), api_name="/check")["valid"] is False

        outside = httpx.get(url + "/", verify=False)
        assert outside.headers["location"].startswith(f"{PATH}/login")
        page = httpx.get(f"{url}/login/register", verify=False).text
        assert "Accounts and histories end when this server restarts" in page

        browser = stack.enter_context(sync_playwright()).chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--test-third-party-cookie-phaseout"]
        )
        frame = f'<!doctype html><title>Hub</title><iframe src="{url}/" width="1000" height="900"></iframe>'
        outer = stack.enter_context(serve(frame.encode(), "text/html"))
        window = browser.new_context(ignore_https_errors=True).new_page()
        window.goto(outer.replace("127.0.0.1", "localhost"))
        inner = window.frame_locator("iframe")
        inner.get_by_label("Name").fill("ada")
        inner.get_by_label("Password").fill(PASSWORD)
        inner.get_by_role("button", name="Sign in").click()
        expect(inner.locator("#imgcap-risk")).to_contain_text("end when this server restarts", timeout=PATIENCE)
        give(inner, SHARP)
        assert re.fullmatch(r"[A-Z].+\.", reading(inner).locator("#imgcap-caption").inner_text())
        inner.get_by_role("link", name="History").click()
        expect(inner.get_by_role("heading", name="History")).to_be_visible(timeout=PATIENCE)
        window.close()
        browser.close()
        # Gradio reloads code on a Space by the package `spaces`, which Hugging Face installs, and only REAL has here.
        # With Hugging Face's packages, Python also complains of event loops that were closed twice; that is noise.
        log = re.sub(NOISE, "", app.log.read_text(), flags=re.DOTALL)
        assert log.count("Traceback") == log.count("`spaces` package is required to run hot-reloading") == int(not REAL)


if REAL:

    def test_a_space_starts_on_zero_gpu(space, tmp_path, monkeypatch):
        reported = []

        class Device(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                reported.append(self.path)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Device) as device:
            Thread(target=device.serve_forever, daemon=True).start()
            where = f"http://127.0.0.1:{device.server_port}"
            zero = {"SPACES_ZERO_GPU": "true", "SPACES_ZERO_DEVICE_API_URL": where}
            with awake(space, tmp_path / "data", monkeypatch, **zero) as app:
                client = Client(app.url, auth=("ada", PASSWORD), verbose=False)
                assert client.predict(image=handle_file(str(SHARP)), api_name="/caption")["caption"]
            device.shutdown()
        assert any("startup-report" in path for path in reported), json.dumps(reported)
