"""Give memory back to the system that the C library would keep for this process."""

import ctypes
import gc
import sys


def return_freed_memory() -> None:
    """Collect garbage, and give the system whole pages of freed memory; does only the former without glibc.

    Opening a model frees memory that a server, which stays, would not use again.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
