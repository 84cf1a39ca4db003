"""How the process keeps its memory between steps."""

from __future__ import annotations

import ctypes
import sys

# The constants of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Lets this process keep what it frees, for the next step; does nothing where the C library is not glibc.

    By default glibc gives a large block back to the system as soon as it is freed, so every step's activations and
    gradients are faulted in again page by page, and each page is zeroed first. Kept blocks are faulted in once. The
    peak of memory is the same, but the process holds it until it ends.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, -1)
        mallopt(_M_MMAP_MAX, 0)
