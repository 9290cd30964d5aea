import os

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from imgcap.inference.threads import multiplies_int8, multiply_on_one_core, usable_cores

NESTED = {"proc/self/cgroup": "0::/a/b\n"}


@pytest.fixture
def affinity(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 16),
        ({"sys/fs/cgroup/cpu.max": "max 100000\n"}, 16),
        ({"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({"sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ({"sys/fs/cgroup/cpu.max": "3200000 100000\n"}, 16),
        # A quota on the group, none on its parent; and the other way round.
        ({**NESTED, "sys/fs/cgroup/a/b/cpu.max": "300000 100000", "sys/fs/cgroup/a/cpu.max": "max 1"}, 3),
        ({**NESTED, "sys/fs/cgroup/a/b/cpu.max": "max 1", "sys/fs/cgroup/a/cpu.max": "400000 100000"}, 4),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "250000\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 16),
        ({"proc/self/cgroup": "4:memory:/m\n3:cpu,cpuacct:/x\n", "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "500000",
          "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000"}, 5),
        ({"sys/fs/cgroup/cpu.max": "broken"}, 16),
    ],
)  # fmt: skip
def test_cores_are_those_of_the_affinity_and_the_quota(affinity, tmp_path, files, cores):
    assert usable_cores(write(tmp_path, files)) == cores


@pytest.mark.parametrize(("chosen", "cores"), [("1", 1), ("3,1", 3), ("99", 16), ("0", 1), ("", 16), ("many", 16)])
def test_a_variable_that_openmp_obeys_lowers_them(affinity, tmp_path, monkeypatch, chosen, cores):
    monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    assert usable_cores(tmp_path) == cores


@pytest.mark.parametrize(
    ("cpuinfo", "fast"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_vnni amx_tile\n", True),
        ("processor : 0\nflags : fpu avx2 avx_vnni\n", True),
        ("Features : fp asimd asimddp\n", True),
        ("flags : fpu avx2 avx512f\nbugs : avx512_vnni\n", False),
        ("", False),
    ],
)
def test_int8_is_fast_where_the_flags_say_so(tmp_path, cpuinfo, fast):
    assert multiplies_int8(write(tmp_path, {"proc/cpuinfo": cpuinfo})) is fast


def test_where_there_is_no_proc_int8_counts_as_slow(tmp_path):
    assert multiplies_int8(tmp_path) is False


def test_products_stay_on_one_core():
    with threadpool_limits(2, user_api="blas"):  # restores the number afterwards
        multiply_on_one_core()
        assert {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"} <= {1}
