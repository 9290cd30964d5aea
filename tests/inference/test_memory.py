import gc
import resource
import sys
from pathlib import Path

import pytest

from imgcap.inference.memory import settle_memory


def resident() -> int:
    """The bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps freed memory")
def test_freed_memory_goes_back_to_the_system():
    # Pieces that malloc keeps in its heap, with one above them that is still used: only a trim returns what is below.
    pieces = [bytes(100_000) for _ in range(500)]
    last = pieces.pop()
    pieces.clear()
    before = resident()
    settle_memory()
    gc.unfreeze()
    assert before - resident() > 30e6
    assert len(last) == 100_000


def test_what_is_there_is_not_looked_at_in_later_collections():
    kept = [[number] for number in range(1000)]
    settle_memory()
    try:
        looked_at = {id(one) for one in gc.get_objects()}
        assert not any(id(one) in looked_at for one in kept)
        new = [[], []]
        looked_at = {id(one) for one in gc.get_objects()}
        assert all(id(one) in looked_at for one in new)
    finally:
        gc.unfreeze()
