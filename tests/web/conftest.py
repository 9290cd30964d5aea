import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running import NO_LIMITS, SHARP, THRESHOLD, OneFileSite, Running, run_app, serve
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from imgcap.captioner import Captioner
from imgcap.settings import Settings
from imgcap.web.guard import Guard
from imgcap.web.routes import build_routes
from imgcap.web.services import Services, open_services


@pytest.fixture
def open_app(tmp_path: Path) -> Iterator[Callable[..., tuple[TestClient, Services]]]:
    """The guard and our own routes, without Gradio and without a server."""
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
def server(tmp_path_factory: pytest.TempPathFactory, tiny_captioner: Path) -> Iterator[Running]:
    """The app with limits that no test reaches, and links to this machine allowed."""
    folder = tmp_path_factory.mktemp("server")
    with run_app(folder, tiny_captioner, allow_private_links=1, **NO_LIMITS) as running:
        yield running
    assert "Traceback" not in running.log.read_text()


@pytest.fixture(scope="session")
def strict_server(tmp_path_factory: pytest.TempPathFactory, tiny_captioner: Path) -> Iterator[Running]:
    """The app as it is by default, except that few captions are allowed."""
    with run_app(tmp_path_factory.mktemp("strict"), tiny_captioner, captions_per_account="2/hour") as running:
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
