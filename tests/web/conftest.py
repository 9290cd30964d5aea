import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running import NO_LIMITS, SHARP, THRESHOLD, PictureSite, Running, run_app
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
def picture_site() -> Iterator[PictureSite]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked += 1
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.end_headers()
            self.wfile.write(SHARP.read_bytes())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        site = PictureSite(f"http://127.0.0.1:{httpd.server_port}")
        site.asked = 0
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield site
        httpd.shutdown()
