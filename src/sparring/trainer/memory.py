"""How the processor's memory is held between steps."""

from __future__ import annotations

import ctypes
import sys

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Lets this process keep what it frees, for the next step; does nothing where the C library is not glibc.

    By default glibc maps a large block from the system when it is asked for and gives it back when it is freed, so
    every step's activations and gradients are faulted in again page by page, and each page is zeroed first. Kept, they
    are faulted in once. The peak is what it was, but it stays with the process until that ends.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, -1)
        mallopt(_M_MMAP_MAX, 0)
