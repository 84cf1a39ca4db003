"""What the process keeps of memory that it has freed, and of the kernels that it has compiled."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# The constants of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
# What glibc ends at by itself: it raises the first as blocks are freed, to this at most, and the second is twice that.
_LARGEST_IN_HEAP, _MOST_BLOCKS = 32 << 20, 65536
# Kernels in each of the two caches: several times those of one pass over a model, forward and backward.
_KERNELS = 128


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Lets this process keep what it frees, for the next step; does nothing where the C library is not glibc.

    By default glibc gives a large block back to the system as soon as it is freed, so every step's activations and
    gradients are faulted in again page by page, and each page is zeroed first. Kept blocks are faulted in once. The
    peak of memory is the same. Before and in the end all that is free goes back: what was sampled and scored has blocks
    of other sizes, and so has what will be.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.malloc_trim(0)
    libc.mallopt(_M_TRIM_THRESHOLD, -1)
    libc.mallopt(_M_MMAP_MAX, 0)
    try:
        yield
    finally:
        libc.mallopt(_M_MMAP_MAX, _MOST_BLOCKS)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_IN_HEAP)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_IN_HEAP)
        libc.malloc_trim(0)


def give_back_freed_memory() -> None:
    """Gives the system all that this process has freed; does nothing where the C library is not glibc.

    glibc returns by itself only what lies at the end of its heap. What sampling frees, the weights' copies and the
    cache, has blocks of other sizes than what scoring takes next, which would come on top.
    """
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def keep_few_kernels() -> None:
    """Bounds how many compiled products a processor's library (oneDNN) keeps, unless the user's environment says it.

    For bf16 it compiles one for every pair of a weight's shape and a number of rows, which differs from step to step;
    it and torch's layer above it keep 1,024 each by default, 0.3 MB apiece. To compile one takes below a millisecond.
    Both are told through the environment, so before the first of them is compiled.
    """
    for variable in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(variable, str(_KERNELS))


def _glibc() -> Any:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "mallopt") else None
