"""Find how many cores this process may use and whether they multiply int8, and keep threads out of others' way.

Systems other than Linux get safe values.
"""

import os
import sys
import threading
from pathlib import Path

from threadpoolctl import threadpool_limits

NICE = 10
"""What threads that work on captions add to their niceness: pages and checks, which take milliseconds, go first."""

INT8_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})
"""Flags in /proc/cpuinfo of processors with an instruction for int8 dot products, x86 and ARM."""


def usable_cores(root: Path = Path("/")) -> int:
    """Return the number of cores for this process: its CPU affinity, limited by its cgroup's quota.

    The variable OMP_NUM_THREADS, which OpenMP's libraries obey, can lower the number. Libraries by themselves count
    only the affinity, or all cores of the host, and then start more threads than can run.

    Args:
        root: folder that contains `proc` and `sys`.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder in _cgroups(root) if (quota := _quota(folder)) is not None]
    chosen = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    limits = [int(chosen)] if chosen.isascii() and chosen.isdigit() else []
    return max(1, int(min([affinity, *quotas, *limits])))


def give_way() -> None:
    """Lower the priority of the calling thread below that of pages and checks, for as long as the thread lives."""
    if sys.platform == "linux":  # only there a thread has a niceness of its own
        own = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + NICE)


def multiply_on_one_core() -> None:
    """Keep each of numpy's matrix products on one core, for as long as the process lives.

    A caption's products are small: spread over all cores, they take 8 ms instead of 0.2, since the cores spin.
    """
    threadpool_limits(1, user_api="blas")


def multiplies_int8(root: Path = Path("/")) -> bool:
    """Return whether the processor has an int8 dot product; False if that cannot be read.

    Without one, ONNX Runtime's usual int8 products are summed in pairs in 16 bits, which overflows.
    """
    try:
        lines = (root / "proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    return any(
        not INT8_FLAGS.isdisjoint(line.partition(":")[2].split())
        for line in lines
        if line.lower().startswith(("flags", "features"))
    )


def _cgroups(root: Path) -> list[Path]:
    """Return the folders of this process's cgroup and its parents, since each may have a quota."""
    top = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    folders = {top, top / "cpu"}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = top / "cpu" if controllers else top
        place = base / path.lstrip("/")
        folders |= {place, *(parent for parent in place.parents if parent.is_relative_to(base))}
    return sorted(folders)


def _quota(folder: Path) -> float | None:
    """Return the cores that a cgroup grants, version 2 or 1; None if it sets no limit."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        granted = float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max" is no number
        return None
    return granted if granted > 0 else None
