"""Python processes that begin with the large libraries imported, for tests that run imgcap's commands.

A fresh `python -m imgcap evaluate` imports libraries for several seconds before it does anything. `run_python` and
`start_python` do what `subprocess` does with `[sys.executable, *arguments]`, in a process that is forked from one which
has imported the libraries. imgcap itself is imported anew by each, as are the libraries that read the variables of
Hugging Face when they are imported, if the command is given others than this process has. That commands start from
nothing is tested in test_install.py, test_docs.py, and hub/test_space.py.
"""

import array
import atexit
import gc
import importlib.util
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
OPERATORS = "imgcap.model.torchvision_ops"

PLAIN = (
    "numpy", "cv2", "PIL.Image", "torchvision", "scipy.stats", "sklearn.linear_model",
    "sklearn.metrics", "pandas", "pyarrow.parquet", "pyarrow.dataset", "sqlalchemy.orm",
    "alembic.command", "typer", "pydantic_settings", "httpx", "uvicorn", "starlette.applications", "tokenizers",
    "safetensors.torch",
    "zxcvbn", "argon2", "limits", "psycopg", "omegaconf", "matplotlib.figure", "fastapi", "aiohttp",
)  # fmt: skip
"""Libraries that read no variable that a test sets."""
HUGGING_FACE = ("transformers", "transformers.trainer", "transformers.image_utils", "datasets", "evaluate", "gradio",
                "gradio_client")  # fmt: skip
"""Libraries that read HF_HOME, HF_ENDPOINT and the like when they are imported."""


class PythonProcess:
    """A running Python process, with the attributes of Popen that tests use."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """Return the exit status, or None while the process runs."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            [status] = struct.unpack("i", os.read(self._status, 4))
            os.close(self._status)
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status; raise TimeoutExpired after `timeout` seconds."""
        if self.returncode is None and not select.select([self._status], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("python", timeout or 0)
        status = self.poll()
        assert status is not None
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process at once."""
        self.send_signal(signal.SIGKILL)


def start_python(
    arguments: Sequence[object],
    cwd: Path,
    env: Mapping[str, str],
    stdin: IO[bytes] | int | None = None,
    stdout: IO[bytes] | int | None = None,
    stderr: IO[bytes] | int | None = None,
    *,
    frees: bool = True,
) -> PythonProcess:
    """Start what `python ARGUMENTS` does: `-m MODULE ...`, `-c CODE ...`, `- ...` or a file.

    With `frees` false, the process frees no objects at its end, which takes half a second with so many libraries.
    """
    ours = {name: value for name, value in os.environ.items() if name.startswith("HF_")}
    theirs = {name: value for name, value in env.items() if name.startswith("HF_")}
    request = {"arguments": [str(one) for one in arguments], "cwd": str(cwd), "env": dict(env), "frees": frees}
    ends = [end if isinstance(end, int) else number if end is None else end.fileno()
            for number, end in enumerate((stdin, stdout, stderr))]  # fmt: skip
    return _parent(ours == theirs).fork(request, ends)


def run_python(
    arguments: Sequence[object],
    cwd: Path,
    env: Mapping[str, str] | None = None,
    input: str = "",  # noqa: A002  as subprocess.run calls it
    timeout: float = 250,
) -> subprocess.CompletedProcess[str]:
    """Run what `python ARGUMENTS` does, and return its exit status and what it wrote."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(input.encode())
        given.seek(0)
        process = start_python(arguments, cwd, os.environ if env is None else env, given, out, err, frees=False)
        try:
            status = process.wait(timeout)
        finally:
            process.kill()
        written = []
        for file in (out, err):
            file.seek(0)
            written.append(file.read().decode())
    return subprocess.CompletedProcess([sys.executable, *map(str, arguments)], status, *written)


class _Parent:
    """A process that has imported libraries, and forks on demand.

    Args:
        names: the libraries.
        parent: a process to fork it from, which has imported others; None starts a new one.
    """

    def __init__(self, names: Sequence[str], parent: "_Parent | None" = None) -> None:
        self._socket, theirs = socket.socketpair()
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        arguments = [__file__, "0", *names]  # 0, the standard input, is its end of the socket
        self._process: subprocess.Popen[bytes] | PythonProcess
        if parent is None:
            self._process = subprocess.Popen([sys.executable, *arguments], stdin=theirs, env=environment)
        else:
            request = {"arguments": arguments, "cwd": str(ROOT), "env": environment, "frees": True}
            self._process = parent.fork(request, [theirs.fileno(), 1, 2])
        theirs.close()
        atexit.register(self.close)

    def fork(self, request: Mapping[str, Any], ends: Sequence[int]) -> PythonProcess:
        status, write_status = os.pipe()
        body = json.dumps(request).encode()
        descriptors = array.array("i", [*ends, write_status])
        self._socket.sendmsg([struct.pack("i", len(body))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
        self._socket.sendall(body)
        os.close(write_status)
        [pid] = struct.unpack("i", os.read(status, 4))
        return PythonProcess(pid, status)

    def close(self) -> None:
        self._socket.close()  # which ends the process
        self._process.wait()


@cache
def _parent(hugging_face: bool) -> _Parent:
    return _Parent(HUGGING_FACE, _parent(False)) if hugging_face else _Parent(PLAIN)


def _receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    head, ancillary, _, _ = connection.recvmsg(4, socket.CMSG_SPACE(4 * 4))
    if not head:
        sys.exit()
    descriptors = array.array("i")
    for _, _, data in ancillary:
        descriptors.frombytes(data)
    [size] = struct.unpack("i", head)
    body = b""
    while len(body) < size:
        body += connection.recv(size - len(body))
    return json.loads(body), list(descriptors)


def _serve(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork two processes for each request: this returns in one, which runs the request; the other reports its end."""
    while True:
        request, descriptors = _receive(connection)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if os.fork():
            for descriptor in descriptors:
                os.close(descriptor)
            continue
        connection.close()
        worker = os.fork()
        if worker == 0:
            return request, descriptors
        for descriptor in descriptors[:3]:
            os.close(descriptor)
        os.write(descriptors[3], struct.pack("i", worker))
        os.write(descriptors[3], struct.pack("i", os.waitpid(worker, 0)[1]))
        os._exit(0)


def _become(request: Mapping[str, Any], descriptors: list[int]) -> None:
    """Take over the streams, folder and variables of a request."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    for descriptor in descriptors:
        os.close(descriptor)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    tempfile.tempdir = None  # a library may have asked for it
    sys.path[:0] = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]


def _run(first: str, *rest: str) -> None:
    """Do what Python does with these arguments."""
    if first == "-m":
        sys.path.insert(0, str(Path.cwd()))
        sys.argv[:] = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first in {"-c", "-"}:
        sys.path.insert(0, "")
        code, arguments = (rest[0], rest[1:]) if first == "-c" else (sys.stdin.read(), rest)
        sys.argv[:] = [first, *arguments]
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.path.insert(0, str(Path(first).resolve().parent))
        sys.argv[:] = [first, *rest]
        runpy.run_path(first, run_name="__main__")


def _run_to_the_end(*arguments: str) -> None:
    """Do what Python does with these arguments and at its end, except that no object is freed."""
    status: object = None
    try:
        _run(*arguments)
    except SystemExit as end:
        status = end.code
    except BaseException:  # noqa: BLE001  as Python itself does
        sys.excepthook(*sys.exc_info())
        status = 1
    if not isinstance(status, int | None):
        print(status, file=sys.stderr)
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status or 0)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
    sys.path.pop(0)  # this folder
    connection, names = socket.socket(fileno=int(sys.argv[1])), sys.argv[2:]
    if "torchvision" in names and importlib.util.find_spec("torch"):  # before torchvision; a second time it would fail
        spec = importlib.util.spec_from_file_location(OPERATORS, ROOT / Path(*OPERATORS.split(".")).with_suffix(".py"))
        sys.modules[OPERATORS] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[OPERATORS])
    for name in names:
        with suppress(ModuleNotFoundError):  # where the packages of [train] are not installed
            importlib.import_module(name)
    gc.freeze()
    request, descriptors = _serve(connection)
    _become(request, descriptors)
    (_run if request["frees"] else _run_to_the_end)(*request["arguments"])
