"""Decodes untrusted pictures in child processes whose time and memory the kernel bounds.

A decoder that hangs, takes all memory or crashes takes only its child with it: the caller gets one sentence, and the
next picture a new child. Children hold no environment variable of ours, so no secret, and cannot write files.

What is sent is a line of JSON, `{"bytes", "memory", "seconds", ...}`, and the file; what comes back is a line of JSON,
`{"error"}` or for pixels `{"height", "width"}`, and the bytes that it announces. `imgcap.images.child` is the child's
side.
"""

import json
import logging
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from imgcap.errors import InputError
from imgcap.images.formats import EXHAUSTED

CHILDREN = 2
"""Pictures decoded at once; more wait."""
CPU_SECONDS = 5.0
"""Processor time that one picture may take: 64 million pixels take 1.3 to 4.6 s (python -m benchmarks.decoding)."""
ATTEMPTS = 2
"""Children that a picture gets, where one was stopped from outside."""
PATIENCE = 5.0
"""Seconds that a child which no longer answers has to end by itself, so that its exit status tells why."""
TIMERS = {-signal.SIGPROF, -signal.SIGALRM}
CRASHES = {-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, -signal.SIGFPE, -signal.SIGILL}
CRASHED = "The picture makes its decoder fail: save it again as a plain JPEG or PNG."
STOPPED = "The picture could not be opened because the server stopped its decoder: try again later."

Child: TypeAlias = subprocess.Popen[bytes]
Answer = TypeVar("Answer")
logger = logging.getLogger(__name__)


def memory_limit(max_pixels: int) -> int:
    """Bytes of address space that a child may have: 512 MiB for the decoders, and 24 for each pixel allowed."""
    return 512 * 2**20 + 24 * max_pixels


class ChildEndedError(Exception):
    """A child ended before it had answered."""

    def __init__(self, status: int) -> None:
        super().__init__(f"exit status {status}")
        self.status = status


class Sandbox:
    """A few children, each started when first needed and then kept. Any thread may call.

    Args:
        children: files that are worked on at once; more wait.
        seconds: processor time that one file may take.
        module: what the children run.
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
        """Return what `imgcap.images.pixels.to_rgb` makes of `data` in a child.

        Raises:
            InputError: as `to_rgb`, or as `ask`.
        """

        def read_pixels(answer: dict[str, Any], output: IO[bytes]) -> NDArray[np.uint8]:
            height, width = int(answer["height"]), int(answer["width"])
            if height * width > max_pixels:
                raise EOFError
            pixels = np.empty((height, width, 3), np.uint8)
            if output.readinto(pixels.data) != pixels.nbytes:  # type: ignore[attr-defined]  # typeshed: IO has none
                raise EOFError
            return pixels

        return self.ask(data, memory_limit(max_pixels), {"max_pixels": max_pixels}, read_pixels)

    def ask(
        self,
        data: bytes,
        memory: int,
        options: Mapping[str, object],
        read: Callable[[dict[str, Any], IO[bytes]], Answer],
    ) -> Answer:
        """Return what a child answers about `data`.

        Args:
            data: a file.
            memory: bytes of address space that the child may have.
            options: what the child is asked beside the file.
            read: makes the result of the child's line of JSON and of what follows it.

        Raises:
            InputError: the child refuses the file; or it ran out of time or memory, crashed, or was stopped from
                outside (by the kernel's out-of-memory killer, say) in each of its `ATTEMPTS`.
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
        """Lend a running child to the caller alone; it is ended if the caller fails.

        Raises:
            ChildEndedError: the caller met the end of the child's answers.
            InputError: the caller read nonsense.
        """
        child = self._slots.get()
        try:
            if child is None or child.poll() is not None:
                child = None
                child = _start(self._module)
            yield child
        except BaseException as error:  # what is left of this answer must not be read as the next one
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
    """The line of JSON that a child answers."""
    to_child = _pipe(child.stdin)
    to_child.write(json.dumps(request).encode() + b"\n")
    to_child.write(data)
    to_child.flush()
    line = _pipe(child.stdout).readline(4096)
    if not line:
        raise EOFError
    return dict(json.loads(line))


def _pipe(end: IO[bytes] | None) -> IO[bytes]:
    if end is None:
        raise EOFError
    return end


def _end(child: Child, patience: float) -> int:
    """The exit status of a child that had `patience` seconds to end by itself."""
    try:
        child.wait(patience)
    except subprocess.TimeoutExpired:
        child.kill()
    child.communicate()
    return child.returncode


def _start(module: str) -> Child:
    """A child that is ready for files; RuntimeError where the machine does not let one start."""
    try:
        child = subprocess.Popen(  # noqa: S603  a module of ours, named in this package
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[2],
            env={"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},  # each would reserve address space for nothing
            process_group=0,  # Ctrl-C is for the parent, which may have captions to finish
        )
    except OSError as error:
        raise RuntimeError(f"python -m {module} does not start: {error}") from None
    if child.stdout is None or child.stdout.readline() != b"ready\n":
        raise RuntimeError(f"python -m {module} does not start (exit status {_end(child, PATIENCE)})")
    return child
