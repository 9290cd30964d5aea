"""A Hugging Face Hub on loopback: what huggingface_hub's client asks for, kept in memory.

It has repositories of three kinds with commits, branches and tags, files in git or in LFS (large and binary ones, as
the real Hub decides), tokens with and without the right to write, private repositories, and the settings of Spaces.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

WRITER, READER, STRANGER = "hf_writer", "hf_reader", "hf_stranger"
USERS = {WRITER: ("me", "write"), READER: ("me", "read"), STRANGER: ("somebody", "write")}
"""Tokens that the Hub knows, with their user and role."""

MAX_GIT_BYTES = 10_000_000
LFS_SUFFIXES = {".safetensors", ".onnx", ".parquet", ".bin"}
ID = r"([^/]+/[^/]+)"
API = rf"/api/(models|datasets|spaces)/{ID}"


@dataclass(frozen=True)
class Blob:
    """A file: its content, and whether LFS keeps it."""

    content: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def oid(self) -> str:
        """The file's id: git's SHA-1, or the SHA-256 of a file in LFS."""
        if self.lfs:
            return self.sha256
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    def describe(self, path: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(self.content), "oid": self.oid}
        if self.lfs:
            entry["lfs"] = {"oid": self.sha256, "size": len(self.content), "pointerSize": 130}
        return entry


@dataclass(frozen=True)
class Commit:
    oid: str
    title: str
    files: dict[str, Blob]


@dataclass
class Repository:
    kind: str
    name: str
    private: bool = False
    sdk: str | None = None
    commits: list[Commit] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    hardware: str | None = None

    @property
    def files(self) -> dict[str, Blob]:
        return self.commits[-1].files

    def text(self, path: str) -> str:
        return self.files[path].content.decode()

    def commit(self, title: str, files: dict[str, Blob]) -> Commit:
        oid = hashlib.sha1(f"{self.kind}/{self.name}/{len(self.commits)}/{title}".encode()).hexdigest()
        self.commits.append(Commit(oid, title, files))
        return self.commits[-1]

    def find(self, revision: str) -> Commit | None:
        if revision == "main":
            return self.commits[-1]
        wanted = self.tags.get(revision, revision)
        return next((commit for commit in self.commits if commit.oid == wanted), None)

    def save(self, folder: Path) -> Path:
        """Write the newest files into a folder, as `git clone` does."""
        for path, blob in self.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(blob.content)
        return folder


def keeps_in_lfs(path: str, sample: bytes, size: int) -> bool:
    return Path(path).suffix in LFS_SUFFIXES or size > MAX_GIT_BYTES or b"\0" in sample


@dataclass
class Hub:
    """The Hub's state. `failing` maps patterns of "METHOD path" to how often they are answered with 500."""

    url: str = ""
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    lfs: dict[str, bytes] = field(default_factory=dict)
    failing: dict[str, int] = field(default_factory=dict)

    def __getitem__(self, place: str) -> Repository:
        """The repository at "models/me/name"."""
        kind, _, name = place.partition("/")
        return self.repositories[kind, name]

    def create(self, kind: str, name: str, *, private: bool = False, sdk: str | None = None) -> Repository:
        repository = self.repositories[kind, name] = Repository(kind, name, private, sdk)
        repository.commit("initial commit", {".gitattributes": Blob(b"*.safetensors filter=lfs\n", lfs=False)})
        return repository

    def put(self, kind: str, name: str, folder: Path) -> Repository:
        """Make a repository of the files in a folder."""
        repository = self.create(kind, name)
        files = dict(repository.files)
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            content, place = path.read_bytes(), path.relative_to(folder).as_posix()
            files[place] = Blob(content, keeps_in_lfs(place, content[:512], len(content)))
        repository.commit("files", files)
        return repository

    def environment(self, home: Path, token: str = "") -> dict[str, str]:
        """The variables with which a process talks to this Hub and no other."""
        return {
            "HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "0", "HF_TOKEN": token,
        }  # fmt: skip

    def downloads(self) -> list[str]:
        """The files that were downloaded, in order."""
        asked = (re.fullmatch(r"GET /.+/resolve/[^/]+/(.+)", line) for line in self.requests)
        return [match[1] for match in asked if match]


class _RefusedError(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        self.status, self.code, self.message = status, code, message


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    body: bytes

    def log_message(self, *_: object) -> None:
        """Keep requests out of the test's output."""

    def _serve(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        verb = "GET" if self.command == "HEAD" else self.command
        self.hub.requests.append(f"{self.command} {path}")
        try:
            for pattern, left in self.hub.failing.items():
                if left and re.search(pattern, f"{verb} {path}"):
                    self.hub.failing[pattern] -= 1
                    raise _RefusedError(500)
            for method, pattern, handle in ROUTES:
                if method == verb and (match := re.fullmatch(pattern, path)):
                    handle(self, *match.groups())
                    return
            raise _RefusedError(404, "RepoNotFound")
        except _RefusedError as error:
            headers = {"X-Error-Code": error.code, "X-Error-Message": error.message}
            content = json.dumps({"error": error.message or HTTPStatus(error.status).phrase}).encode()
            self._send(error.status, content, {name: value for name, value in headers.items() if value})

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

    # who asks

    def _user(self) -> tuple[str, str] | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in USERS:
            raise _RefusedError(401, message="Invalid credentials in Authorization header")
        return USERS.get(token)

    def _require_user(self) -> tuple[str, str]:
        if (user := self._user()) is None:
            raise _RefusedError(401, message="Invalid username or password.")
        return user

    def _require_writer(self, name: str) -> None:
        user, role = self._require_user()
        if role != "write" or name.partition("/")[0] != user:
            raise _RefusedError(403, message=f"You don't have the rights to write to {name}")

    def _readable(self, kind: str, name: str) -> Repository:
        repository, user = self.hub.repositories.get((kind, name)), self._user()
        hidden = repository is not None and repository.private and (user is None or user[0] != name.partition("/")[0])
        if repository is None or hidden:
            raise _RefusedError(404 if user else 401, "RepoNotFound", "Repository not found")
        return repository

    def _writable(self, kind: str, name: str) -> Repository:
        repository = self._readable(kind, name)
        self._require_writer(name)
        return repository

    def _commit_of(self, repository: Repository, revision: str) -> Commit:
        commit = repository.find(revision)
        if commit is None:
            raise _RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    # accounts and repositories

    def whoami(self) -> None:
        user, role = self._require_user()
        self._json({"type": "user", "name": user, "orgs": [], "auth": {"accessToken": {"role": role}}})

    def validate(self) -> None:
        broken = "\nbroken: [" in json.loads(self.body)["content"]
        problems = [{"message": "the front matter is no YAML"}] if broken else []
        self._json({"errors": problems, "warnings": []}, 400 if broken else 200)

    def create_repository(self) -> None:
        fields = json.loads(self.body)
        user, _ = self._require_user()
        kind, name = f"{fields.get('type', 'model')}s", f"{fields['organization'] or user}/{fields['name']}"
        self._require_writer(name)
        if (kind, name) in self.hub.repositories:
            return self._json({"error": "You already created this repo", "url": f"{self.hub.url}/{name}"}, 409)
        repository = self.hub.create(kind, name, private=fields.get("visibility") == "private", sdk=fields.get("sdk"))
        repository.hardware = fields.get("hardware")
        prefix = "" if kind == "models" else f"{kind}/"
        return self._json({"url": f"{self.hub.url}/{prefix}{name}", "name": name})

    def info(self, kind: str, name: str, revision: str | None = None) -> None:
        repository = self._readable(kind, name)
        commit = self._commit_of(repository, revision or "main")
        card = repository.text("README.md") if "README.md" in repository.files else ""
        self._json(
            {"id": name, "sha": commit.oid, "private": repository.private, "gated": False, "disabled": False,
             "tags": [], "downloads": 0, "likes": 0, "sdk": repository.sdk, "cardData": {"length": len(card)},
             "siblings": [{"rfilename": file} for file in sorted(commit.files)]}
        )  # fmt: skip

    def tree(self, kind: str, name: str, revision: str, under: str = "") -> None:
        commit = self._commit_of(self._readable(kind, name), revision)
        files = {path: blob for path, blob in commit.files.items() if path.startswith(f"{under}/" if under else "")}
        self._json([blob.describe(path) for path, blob in sorted(files.items())])

    def paths_info(self, kind: str, name: str, revision: str) -> None:
        files = self._commit_of(self._readable(kind, name), revision).files
        fields = parse_qs(self.body.decode()) if "form" in self.headers["Content-Type"] else json.loads(self.body)
        self._json([files[path].describe(path) for path in fields["paths"] if path in files])

    def refs(self, kind: str, name: str) -> None:
        repository = self._readable(kind, name)
        tags = [{"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": oid} for tag, oid in repository.tags.items()]
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repository.commits[-1].oid}
        self._json({"branches": [main], "converts": [], "tags": tags})

    def tag(self, kind: str, name: str, revision: str) -> None:
        repository = self._writable(kind, name)
        repository.tags[json.loads(self.body)["tag"]] = self._commit_of(repository, revision).oid
        self._json({})

    # uploads

    def preupload(self, kind: str, name: str, revision: str) -> None:
        files = self._commit_of(self._writable(kind, name), revision).files
        answers = []
        for wanted in json.loads(self.body)["files"]:
            path, sample = wanted["path"], base64.b64decode(wanted["sample"])
            mode = "lfs" if keeps_in_lfs(path, sample, wanted["size"]) else "regular"
            oid = files[path].oid if path in files else None
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._json({"files": answers})

    def lfs_batch(self, name: str) -> None:
        self._require_writer(name)
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            upload = {"upload": {"href": f"{self.hub.url}/lfs/{wanted['oid']}"}}
            objects.append(wanted | ({} if wanted["oid"] in self.hub.lfs else {"actions": upload}))
        self._json({"transfer": "basic", "objects": objects}, content_type="application/vnd.git-lfs+json")

    def lfs_put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise _RefusedError(400, message="the content is not what its oid says")
        self.hub.lfs[oid] = self.body
        self._send(200, b"")

    def make_commit(self, kind: str, name: str, revision: str) -> None:
        repository = self._writable(kind, name)
        files = dict(self._commit_of(repository, revision).files)
        header: dict[str, Any] = {}
        for line in self.body.splitlines():
            key, value = (item := json.loads(line))["key"], item["value"]
            if key == "header":
                header = value
            elif key == "file":
                content = base64.b64decode(value["content"])
                if len(content) > MAX_GIT_BYTES:
                    raise _RefusedError(400, message=f"{value['path']} is larger than 10 MB; use LFS")
                files[value["path"]] = Blob(content, lfs=False)
            elif key == "lfsFile":
                files[value["path"]] = Blob(self.hub.lfs[value["oid"]], lfs=True)
            elif key == "deletedFile":
                del files[value["path"]]
        commit = repository.commit(header["summary"], files)
        self._json({"commitUrl": f"{self.hub.url}/{name}/commit/{commit.oid}", "commitOid": commit.oid})

    # downloads

    def resolve(self, kind: str | None, name: str, revision: str, path: str) -> None:
        commit = self._commit_of(self._readable(kind or "models", name), revision)
        common = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
        if path not in commit.files:
            return self._send(404, b"", common | {"X-Error-Code": "EntryNotFound"})
        blob = commit.files[path]
        first, content, headers = 0, blob.content, common | {"ETag": f'"{blob.oid}"'}
        if blob.lfs:
            headers |= {"X-Linked-Etag": f'"{blob.oid}"', "X-Linked-Size": str(len(content))}
        if found := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first = int(found[1])
            last = int(found[2]) if found[2] else len(content) - 1
            content = content[first : last + 1]
            headers["Content-Range"] = f"bytes {first}-{first + len(content) - 1}/{len(blob.content)}"
        return self._send(206 if "Content-Range" in headers else 200, content, headers)

    # Spaces

    def variables(self, name: str) -> None:
        repository = self._writable("spaces", name)
        if self.command == "POST":
            fields = json.loads(self.body)
            repository.variables[fields["key"]] = fields["value"]
        self._json({key: {"value": value} for key, value in repository.variables.items()})

    def secret(self, name: str) -> None:
        repository, fields = self._writable("spaces", name), json.loads(self.body)
        repository.secrets[fields["key"]] = fields["value"]
        self._json({})

    def request_hardware(self, name: str) -> None:
        repository = self._writable("spaces", name)
        repository.hardware = json.loads(self.body)["flavor"]
        self._json({"stage": "BUILDING", "hardware": {"requested": repository.hardware}})

    def runtime(self, name: str) -> None:
        hardware = self._readable("spaces", name).hardware
        self._json({"stage": "RUNNING", "hardware": {"current": hardware, "requested": hardware}})

    # answers

    def _json(self, value: object, status: int = 200, content_type: str = "application/json") -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": content_type})

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", "/api/whoami-v2", _Handler.whoami),
    ("POST", "/api/validate-yaml", _Handler.validate),
    ("POST", "/api/repos/create", _Handler.create_repository),
    ("GET", f"/api/spaces/{ID}/variables", _Handler.variables),
    ("POST", f"/api/spaces/{ID}/variables", _Handler.variables),
    ("POST", f"/api/spaces/{ID}/secrets", _Handler.secret),
    ("POST", f"/api/spaces/{ID}/hardware", _Handler.request_hardware),
    ("GET", f"/api/spaces/{ID}/runtime", _Handler.runtime),
    ("GET", rf"{API}/tree/([^/]+)/?(.*)", _Handler.tree),
    ("POST", rf"{API}/paths-info/([^/]+)", _Handler.paths_info),
    ("GET", rf"{API}/refs", _Handler.refs),
    ("POST", rf"{API}/tag/(.+)", _Handler.tag),
    ("POST", rf"{API}/preupload/(.+)", _Handler.preupload),
    ("POST", rf"{API}/commit/(.+)", _Handler.make_commit),
    ("GET", rf"{API}(?:/revision/(.+))?", _Handler.info),
    ("POST", rf"/(?:datasets/|spaces/)?{ID}\.git/info/lfs/objects/batch", _Handler.lfs_batch),
    ("PUT", r"/lfs/(\w+)", _Handler.lfs_put),
    ("GET", rf"/(?:(datasets|spaces)/)?{ID}/resolve/([^/]+)/(.+)", _Handler.resolve),
]


@contextmanager
def hub(**folders: dict[str, Path]) -> Iterator[Hub]:
    """A running Hub with repositories of these folders, e.g. `hub(models={"me/captioner": folder})`."""
    state = Hub()
    for kind, named in folders.items():
        for name, folder in named.items():
            state.put(kind, name, folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": state}))
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
