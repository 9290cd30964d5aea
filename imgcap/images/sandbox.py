"""Decode untrusted images in child processes whose time and memory the kernel bounds.

A decoder that hangs, takes all memory or crashes ends only its child: the caller gets one sentence, and the next image
gets a new child. Children have none of this process's environment variables, so no secrets, and cannot write files.

A request is a line of JSON, `{"bytes", "memory", "seconds", ...}`, followed by the file. Its `nice`, if it has one, is
added to the niceness of the thread that works on the file. An answer is a line of JSON,
`{"error"}` or for pixels `{"height", "width", ...}`, followed by the bytes that it announces. `imgcap.images.child` is
the child's side.
"""

import fcntl
import json
import logging
import os
import queue
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from imgcap.errors import InputError
from imgcap.images.child import NICE
from imgcap.images.formats import EXHAUSTED

CHILDREN = 3
"""Images decoded at once; more wait."""
CPU_SECONDS = 5.0
"""Processor time for one image: 64 million pixels take 1.3 to 4.6 s (python -m benchmarks.decoding)."""
ATTEMPTS = 2
"""Number of children that try one image, if something outside stops them."""
QUICK_SECONDS = 0.1
"""How long a file is worked on at the server's own priority; then pages, checks and captions go first."""
PIPE_BYTES = 2**20
"""Room in a pipe, the most that Linux gives without privileges: with its usual 64 kB the pixels of a small image would
come in a dozen parts, before each of which this process would wait for the child and for the interpreter."""
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",  # more threads or arenas would reserve address space
    "MALLOC_ARENA_MAX": "1",
    # Otherwise the C library returns freed arrays to the system, and getting new pages for the next ones takes longer
    # than decoding and measuring a small photo.
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**25),
}
"""All of a child's environment variables."""
PATIENCE = 5.0
"""Seconds for a child that stopped answering to end by itself, so that its exit status gives the reason."""
TIMERS = {-signal.SIGPROF, -signal.SIGALRM}
CRASHES = {-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, -signal.SIGFPE, -signal.SIGILL}
CRASHED = "The picture makes its decoder fail: save it again as a plain JPEG or PNG."
STOPPED = "The picture could not be opened because the server stopped its decoder: try again later."

Child: TypeAlias = subprocess.Popen[bytes]
Answer = TypeVar("Answer")
logger = logging.getLogger(__name__)


def memory_limit(max_pixels: int) -> int:
    """Return the bytes of address space for a child: 512 MiB for the decoders, and 24 for each pixel allowed."""
    return 512 * 2**20 + 24 * max_pixels


class ChildEndedError(Exception):
    """A child ended before it had answered."""

    def __init__(self, status: int) -> None:
        super().__init__(f"exit status {status}")
        self.status = status


class Sandbox:
    """A pool of children, each started when first needed and then kept. Any thread may call.

    Args:
        children: number of files decoded at once; more wait.
        seconds: processor time that one file may take.
        module: module that the children run.
    """

    def __init__(
        self, children: int = CHILDREN, seconds: float = CPU_SECONDS, module: str = "imgcap.images.pixels"
    ) -> None:
        self._seconds = seconds
        self._module = module
        self._slots: queue.LifoQueue[Child | None] = queue.LifoQueue()
        for _ in range(children):
            self._slots.put(None)

    def decode(self, data: bytes, max_pixels: int) -> NDArray[np.uint8]:
        """Return the result of `imgcap.images.pixels.to_rgb` for `data`, computed in a child.

        Raises:
            InputError: as `to_rgb`, or as `ask`.
        """
        return self.examine(data, max_pixels, {})[0]

    def examine(
        self, data: bytes, max_pixels: int, options: Mapping[str, object]
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Return the result of `decode`, and the line of JSON with which the child answered.

        Args:
            data: a file.
            max_pixels: width x height above which nothing is decoded.
            options: further fields of the request, for the module that the children run.

        Raises:
            InputError: as `decode`.
        """

        def read_pixels(answer: dict[str, Any], output: IO[bytes]) -> tuple[NDArray[np.uint8], dict[str, Any]]:
            height, width = int(answer["height"]), int(answer["width"])
            if height * width > max_pixels:
                raise EOFError
            pixels = np.empty((height, width, 3), np.uint8)
            if output.readinto(pixels.data) != pixels.nbytes:  # type: ignore[attr-defined]  # typeshed: IO has none
                raise EOFError
            return pixels, answer

        return self.ask(data, memory_limit(max_pixels), {"max_pixels": max_pixels, **options}, read_pixels)

    def ask(
        self,
        data: bytes,
        memory: int,
        options: Mapping[str, object],
        read: Callable[[dict[str, Any], IO[bytes]], Answer],
    ) -> Answer:
        """Return a child's answer about `data`.

        Args:
            data: a file.
            memory: bytes of address space that the child may have.
            options: further fields of the request.
            read: builds the result from the child's line of JSON and the bytes that follow it.

        Raises:
            InputError: the child refused the file, ran out of time or memory, or crashed; or something outside stopped
                it (such as the kernel's out-of-memory killer) in each of the `ATTEMPTS`.
        """
        request = {"bytes": len(data), "memory": memory, "seconds": self._seconds, **options}
        for _ in range(ATTEMPTS):
            try:
                with self.child() as child:
                    answer = _send(child, request, data)
                    if "error" not in answer:
                        return read(answer, _pipe(child.stdout))
            except ChildEndedError as ended:
                if ended.status in TIMERS:
                    raise InputError(EXHAUSTED) from None
                if ended.status in CRASHES:
                    raise InputError(CRASHED) from None
                continue
            raise InputError(str(answer["error"]))
        raise InputError(STOPPED)

    @contextmanager
    def child(self) -> Iterator[Child]:
        """Lend a running child to this caller alone, and end the child if the caller raises.

        Raises:
            ChildEndedError: the child's output ended while the caller was reading it.
            InputError: the caller read an answer that is not valid.
        """
        child = self._slots.get()
        try:
            if child is None or child.poll() is not None:
                child = None
                child = _start(self._module)
            yield child
        except BaseException as error:  # the rest of this answer must not be read as the next one
            ended, child = child, None
            if ended is None:
                raise
            status = _end(ended, PATIENCE if isinstance(error, EOFError | BrokenPipeError) else 0)
            logger.warning("A picture ended its decoder (exit status %d).", status)
            if isinstance(error, OSError | EOFError):
                raise ChildEndedError(status) from None
            if isinstance(error, ValueError | KeyError):
                raise InputError(CRASHED) from None
            raise
        finally:
            self._slots.put(child)


def _send(child: Child, request: dict[str, object], data: bytes) -> dict[str, Any]:
    """Return the line of JSON with which a child answers."""
    to_child = _pipe(child.stdin)
    to_child.write(json.dumps(request).encode() + b"\n")
    to_child.write(data)
    to_child.flush()
    _lower_when_long(child)
    line = _pipe(child.stdout).readline(4096)
    if not line:
        raise EOFError
    return dict(json.loads(line))


def _lower_when_long(child: Child) -> None:
    """Wait until a child answers or ends; lower the priority of its file's threads whenever that takes long."""
    if sys.platform != "linux":  # there a child has a low priority from its start
        return
    answered = select.poll()  # select.select takes no descriptor above 1023
    answered.register(_pipe(child.stdout), select.POLLIN)
    while not answered.poll(1000 * QUICK_SECONDS):
        lowered = os.getpriority(os.PRIO_PROCESS, child.pid) + NICE  # the main thread's, which stays as it is
        with suppress(FileNotFoundError, ProcessLookupError):  # the child or a thread has ended
            for thread in Path(f"/proc/{child.pid}/task").iterdir():
                if int(thread.name) != child.pid:
                    os.setpriority(os.PRIO_PROCESS, int(thread.name), lowered)


def _pipe(end: IO[bytes] | None) -> IO[bytes]:
    if end is None:
        raise EOFError
    return end


def _end(child: Child, patience: float) -> int:
    """Return the exit status of a child, which has `patience` seconds to end by itself."""
    try:
        child.wait(patience)
    except subprocess.TimeoutExpired:
        child.kill()
    child.communicate()
    return child.returncode


def _start(module: str) -> Child:
    """Return a child that is ready for files. Raises RuntimeError if the machine does not let it start."""
    try:
        child = subprocess.Popen(  # noqa: S603  a fixed module of this package
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[2],
            env=ENVIRONMENT,
            process_group=0,  # so that Ctrl-C reaches only the parent, which may have captions to finish
        )
    except OSError as error:
        raise RuntimeError(f"python -m {module} does not start: {error}") from None
    for pipe in (_pipe(child.stdin), _pipe(child.stdout)):
        if sys.platform == "linux":
            with suppress(OSError):  # this user has too many large pipes already
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    if child.stdout is None or child.stdout.readline() != b"ready\n":
        raise RuntimeError(f"python -m {module} does not start (exit status {_end(child, PATIENCE)})")
    return child
