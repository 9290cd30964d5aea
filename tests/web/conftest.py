import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from browsing import CHROMIUM, PATIENCE
from playwright.sync_api import Browser, Page, sync_playwright
from running import NO_LIMITS, PASSWORD, SHARP, THRESHOLD, OneFileSite, Running, free_port, run_app, serve
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from imgcap.captioner import Captioner
from imgcap.settings import Settings
from imgcap.web.gate.guard import Guard
from imgcap.web.routes import build_routes
from imgcap.web.server import Server, launch
from imgcap.web.services import Services, open_services

_members = count(1)


@pytest.fixture
def open_app(tmp_path: Path) -> Iterator[Callable[..., tuple[TestClient, Services]]]:
    """The guard and the app's own routes, without Gradio and without a server."""
    with contextlib.ExitStack() as stack:

        def open_it(**chosen: object) -> tuple[TestClient, Services]:
            settings = Settings(**{"data_dir": tmp_path, "blur_threshold": THRESHOLD, **chosen})
            services = open_services(settings, Captioner(settings))
            services.lifecycle.ready = True
            stack.callback(services.close)
            app = Starlette(routes=build_routes(services), middleware=[Middleware(Guard, services=services)])
            return stack.enter_context(TestClient(app, follow_redirects=False)), services

        yield open_it


@pytest.fixture(scope="session")
def launched(tmp_path_factory: pytest.TempPathFactory, tiny_captioner: Path) -> Iterator[Server]:
    """The app in this process, so that its parts can be looked at and changed."""
    before = dict(os.environ)
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("launched"),
        model=str(tiny_captioner),
        port=free_port(),
        blur_threshold=THRESHOLD,
        trusted_proxies="",
        **NO_LIMITS,
    )
    server = launch(settings, Captioner(settings))
    os.environ.clear()
    os.environ.update(before)
    yield server
    server.close()


@pytest.fixture
def member(launched: Server) -> Iterator[httpx.Client]:
    """A client of the launched app that is signed in as a user of its own."""
    name, token = f"member{next(_members)}", secrets.token_urlsafe(16)
    launched.services.accounts.create(name, PASSWORD)
    launched.services.sessions[token] = name
    cookies = {launched.services.cookies.plain_name: token}
    with httpx.Client(base_url=launched.url, cookies=cookies, timeout=60, headers={"x-name": name}) as client:
        yield client


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_captioner: Path, caption_folder: Path) -> Iterator[Running]:
    """The app with limits that no test reaches, links to this machine allowed, a second model, and a small data set."""
    folder = tmp_path_factory.mktemp("server")
    second = shutil.copytree(tiny_captioner, folder / "second")
    chosen = {"more_models": second, "allow_private_links": 1, "dataset": caption_folder}
    with run_app(folder, tiny_captioner, **chosen, **NO_LIMITS) as running:
        yield running
    assert "Traceback" not in running.log.read_text()


@pytest.fixture(scope="session")
def strict_server(tmp_path_factory: pytest.TempPathFactory, tiny_captioner: Path) -> Iterator[Running]:
    """The app as it is by default, except that few pictures and fewer captions are allowed."""
    few = {"captions_per_account": "2/hour", "pictures_per_account": "4/hour"}
    with run_app(tmp_path_factory.mktemp("strict"), tiny_captioner, **few) as running:
        yield running


@pytest.fixture(scope="session")
def proxied_server(tmp_path_factory: pytest.TempPathFactory, tiny_captioner: Path) -> Iterator[Running]:
    """The app behind a proxy on this machine, shown in the frame of another site."""
    settings = {"trusted_proxies": "127.0.0.1", "embedded": 1, "frame_ancestors": "'self' http://localhost:*"}
    with run_app(tmp_path_factory.mktemp("proxied"), tiny_captioner, **settings) as running:
        yield running


@pytest.fixture(scope="session")
def picture_site() -> Iterator[OneFileSite]:
    with serve(SHARP.read_bytes(), "image/jpeg") as site:
        yield site


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not shutil.which(CHROMIUM):
        reason = "Chromium is not installed (Debian: apt-get install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        # Third-party cookies are blocked, as most browsers do by now.
        arguments = ["--no-sandbox", "--test-third-party-cookie-phaseout"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """A page in a browser of its own; what fails on it, a script or a file of the app, fails the test.

    `refused` are the statuses with which the test has the server refuse something.
    """
    contexts, faults = [], []

    def open_it(refused: frozenset[int] = frozenset(), **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: faults.append(str(error)))
        wrong = {401, 403, 404, 500} - refused
        page.on("response", lambda response: faults.append(response.url) if response.status in wrong else None)
        page.on("console", lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert faults == []
