"""A Hugging Face Hub on loopback, read-only: folders served under the routes that huggingface_hub asks for."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "a" * 40
INFO = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/revision/[^/]+)?$")
TREE = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)/tree/[^/]+/?(.*)$")
RESOLVE = re.compile(r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/[^/]+/(.+)$")
PATHS_INFO = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)/paths-info/[^/]+$")


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


class _Handler(BaseHTTPRequestHandler):
    repositories: dict[tuple[str, str], Path]
    requests: list[str]

    def log_message(self, *_: object) -> None:
        """Nothing on the test's own output."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.requests.append(f"{self.command} {path}")
        if match := TREE.match(path):
            return self._tree(match[1], match[2])
        if match := INFO.match(path):
            return self._info(match[1], match[2])
        if match := RESOLVE.match(path):
            return self._file(match[1] or "models", match[2], match[3])
        return self._missing("RepoNotFound")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        match = PATHS_INFO.match(unquote(urlsplit(self.path).path))
        folder = self.repositories.get((match[1], match[2])) if match else None
        if folder is None:
            return self._missing("RepoNotFound")
        wanted = json.loads(body)["paths"]
        return self._json([self._entry(folder, name) for name in _files(folder) if name in wanted])

    def _info(self, kind: str, name: str) -> None:
        folder = self.repositories.get((kind, name))
        if folder is None:
            return self._missing("RepoNotFound")
        siblings = [{"rfilename": file} for file in _files(folder)]
        return self._json(
            {"id": name, "sha": COMMIT, "private": False, "gated": False, "disabled": False, "tags": [],
             "downloads": 0, "likes": 0, "siblings": siblings}
        )  # fmt: skip

    def _tree(self, kind: str, name: str) -> None:
        folder = self.repositories.get((kind, name))
        if folder is None:
            return self._missing("RepoNotFound")
        return self._json([self._entry(folder, file) for file in _files(folder)])

    def _entry(self, folder: Path, file: str) -> dict[str, object]:
        path = folder / file
        return {"type": "file", "path": file, "size": path.stat().st_size, "oid": _digest(path)}

    def _file(self, kind: str, name: str, file: str) -> None:
        folder = self.repositories.get((kind, name))
        if folder is None:
            return self._missing("RepoNotFound")
        path = folder / file
        if not path.is_file():
            return self._missing("EntryNotFound")
        content = path.read_bytes()
        first, status = 0, 200
        if found := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, status = int(found[1]), 206
            last = int(found[2]) if found[2] else len(content) - 1
            whole, content = len(content), content[first : last + 1]
        self.send_response(status)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{_digest(path)}"')
        self.send_header("Accept-Ranges", "bytes")
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{first + len(content) - 1}/{whole}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)
        return None

    def _json(self, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _missing(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _digest(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


@contextmanager
def hub(**folders: dict[str, Path]) -> Iterator[tuple[str, list[str]]]:
    """The endpoint's URL and the requests it got; e.g. `hub(models={"me/captioner": folder})`."""
    repositories = {(kind, name): folder for kind, named in folders.items() for name, folder in named.items()}
    requests: list[str] = []
    handler = type("Handler", (_Handler,), {"repositories": repositories, "requests": requests})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
