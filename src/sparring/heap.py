"""How much freed memory, and how many compiled kernels, the process keeps."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# The constants of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
# The values that glibc itself may reach: it raises the first up to this as blocks are freed; the second is twice that.
_LARGEST_IN_HEAP, _MOST_BLOCKS = 32 << 20, 65536
# Kernels in each of the two caches: several times as many as one forward and backward pass of a model needs.
_KERNELS = 128


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Lets this process keep freed memory for the next step; does nothing if the C library is not glibc.

    By default glibc gives a large block back to the system as soon as it is freed, so every step's activations and
    gradients are faulted in again page by page, and each page is zeroed first. Kept blocks are faulted in once, and the
    peak of memory is the same. At both ends all free memory is given back, since sampling and scoring need blocks of
    other sizes than training.
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
    """Gives all freed memory back to the system; does nothing where the C library is not glibc.

    By itself glibc returns only the end of its heap. Sampling frees copies of weights and caches; scoring, which comes
    next, needs blocks of other sizes, so its memory would come on top of what is kept.
    """
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def keep_few_kernels() -> None:
    """Bounds the number of compiled matrix products that oneDNN keeps, unless the user's environment sets it.

    In bf16, oneDNN compiles one for every shape of a weight and number of rows, which differs from step to step. It and
    torch's layer above it keep 1,024 each by default, 0.3 MB apiece, though compiling one takes less than a
    millisecond. Both read the bound from the environment, so it must be set before the first product is compiled.
    """
    for variable in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(variable, str(_KERNELS))


def _glibc() -> Any:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "mallopt") else None
