"""The child's side of `imgcap.images.sandbox`: handle one untrusted file after another, each within its own limits."""

import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

from imgcap.errors import InputError
from imgcap.images.formats import EXHAUSTED

CROWDED = 20  # clock time allowed per processor time, because other processes use the processor and threads wait

NICE = 13
"""What is added to the niceness of a file's thread once it takes long, because pages and captions have priority."""


def run(answer: Callable[[BinaryIO, bytes, dict[str, Any]], None]) -> None:
    """Answer the sandbox's requests until it closes the standard input.

    Args:
        answer: takes the output, the file and the request, and writes a line of JSON and the bytes that it announces.
            If it raises InputError or MemoryError, `{"error"}` is written.
    """
    if sys.platform != "linux":  # only on Linux a thread has a niceness of its own, which the parent adds to
        os.nice(NICE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    wire = os.fdopen(os.dup(1), "wb")
    silence = os.open(os.devnull, os.O_WRONLY)  # what a library prints must not mix with the answers
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    serve(sys.stdin.buffer, wire, answer)


def serve(requests: BinaryIO, answers: BinaryIO, answer: Callable[[BinaryIO, bytes, dict[str, Any]], None]) -> None:
    """Answer requests until the input ends. Each file has its own limits of time and memory.

    Each also has its own thread: a process without privileges cannot raise its priority again after it was lowered for
    a file that took long, but a new thread has the priority of the main thread.
    """
    answers.write(b"ready\n")
    answers.flush()
    while line := requests.readline():
        request = json.loads(line)
        data = requests.read(request["bytes"])
        _limit_memory(request["memory"])
        # With their default actions, both signals end the process even in the middle of a decoder's C code.
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        signal.setitimer(signal.ITIMER_REAL, CROWDED * request["seconds"])
        try:
            with ThreadPoolExecutor(1, initializer=_lower_priority, initargs=(request.get("nice", 0),)) as thread:
                thread.submit(answer, answers, data, request).result()
        except InputError as error:
            answers.write(json.dumps({"error": str(error)}).encode() + b"\n")
        except MemoryError:
            answers.write(json.dumps({"error": EXHAUSTED}).encode() + b"\n")
        answers.flush()
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _lower_priority(nice: int) -> None:
    """Add to the niceness of the calling thread, where a thread has one of its own."""
    if nice and sys.platform == "linux":
        own = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + nice)


def _limit_memory(limit: int) -> None:
    """Bound this process's address space by `limit`, or by the machine's own hard limit if that is lower."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
