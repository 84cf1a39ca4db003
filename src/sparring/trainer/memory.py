"""How the process keeps its memory between the steps of a training."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# The constants of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
# What glibc ends at by itself: it raises the first as blocks are freed, to this at most, and the second is twice that.
_LARGEST_IN_HEAP, _MOST_BLOCKS = 32 << 20, 65536


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Lets this process keep what it frees, for the next step; does nothing where the C library is not glibc.

    By default glibc gives a large block back to the system as soon as it is freed, so every step's activations and
    gradients are faulted in again page by page, and each page is zeroed first. Kept blocks are faulted in once. The
    peak of memory is the same. In the end all that is free goes back: what is sampled and scored next has blocks of
    other sizes, for which the heap would grow again.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    mallopt: Callable[[int, int], Any] | None = getattr(libc, "mallopt", None)
    if libc is None or mallopt is None:
        yield
        return
    mallopt(_M_TRIM_THRESHOLD, -1)
    mallopt(_M_MMAP_MAX, 0)
    try:
        yield
    finally:
        mallopt(_M_MMAP_MAX, _MOST_BLOCKS)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_IN_HEAP)
        mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_IN_HEAP)
        libc.malloc_trim(0)
