"""The app in a process of its own, for tests that talk to it as browsers and programs do."""

import contextlib
import http.server
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from processes import PythonProcess, start_python

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "tests" / "samples"
SHARP, BLURRED = SAMPLES / "coffee.jpg", SAMPLES / "clock_motion.png"
PASSWORD = "correct horse battery staple"
# Between the two sample pictures, whatever the default threshold is calibrated to.
THRESHOLD = 5.0
NO_LIMITS = {
    f"{kind}_per_{who}": "100000/second"
    for kind in ("sign_in", "registrations", "pictures", "captions", "frames")
    for who in ("account", "address")
}
_names = count(1)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@dataclass
class Running:
    """The app in a process of its own, as `python app.py` starts it."""

    url: str
    process: subprocess.Popen[bytes] | PythonProcess
    log: Path
    clients: list[httpx.Client] = field(default_factory=list)

    def client(self, **headers: str) -> httpx.Client:
        self.clients.append(httpx.Client(base_url=self.url, headers=headers, timeout=60))
        return self.clients[-1]

    def newcomer(self, name: str = "") -> httpx.Client:
        """A client signed in as somebody who has just registered."""
        client, name = self.client(), name or f"user{next(_names)}"
        answer = client.post("/login/register", data={"username": name, "password": PASSWORD})
        assert answer.status_code == 303, answer.text
        client.headers["x-name"] = name
        return client

    def stop(self, timeout: float = 60) -> int:
        for client in self.clients:
            client.close()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)


@contextlib.contextmanager
def run_app(
    data_dir: Path,
    model: Path,
    command: Sequence[str | Path] = (),
    folder: Path = ROOT,
    python: Sequence[str] = ("app.py",),
    **settings: object,
) -> Iterator[Running]:
    """Run the app: by `command` in `folder`, or else by Python's arguments in a process with the libraries imported."""
    data_dir.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), data_dir / "log"
    chosen = {
        "data_dir": data_dir,
        "model": model,
        "port": port,
        "blur_threshold": THRESHOLD,
        **settings,
    }
    environment = {f"IMGCAP_{name.upper()}": str(value) for name, value in chosen.items()}
    with log.open("ab") as out:
        where: Any = {"cwd": folder, "env": os.environ | environment, "stdout": out, "stderr": out}
        process = subprocess.Popen(list(command), **where) if command else start_python(python, **where)
    running = Running(f"http://127.0.0.1:{port}", process, log)
    try:
        deadline = time.monotonic() + 240
        while not _answers(running.url):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield running
    finally:
        if process.poll() is None:
            running.stop()


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/gradio_api/healthz", timeout=5).status_code == 200
    return False


class OneFileSite(str):
    """The address of a site on this machine that answers everything with one file, and a count of who asked."""

    __slots__ = ("asked",)


@contextlib.contextmanager
def serve(content: bytes, content_type: str) -> Iterator[OneFileSite]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked += 1
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        site = OneFileSite(f"http://127.0.0.1:{httpd.server_port}")
        site.asked = 0
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield site
        httpd.shutdown()
