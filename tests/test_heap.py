"""Freed memory is kept while a training lasts, and compiled kernels are few."""

import os
import subprocess
import sys

import pytest

_COUNT_FAULTS = """
import resource, sys, torch
from contextlib import nullcontext
from sparring.heap import freed_memory_kept

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(32):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with freed_memory_kept() if sys.argv[1] == "kept" else nullcontext():
    faults()
    print(faults())
"""


_HOLD = """
import psutil, torch
from sparring.heap import freed_memory_kept

with freed_memory_kept():
    blocks = [torch.ones(2**20) for _ in range(64)]
    last = torch.ones(1)
    del blocks
    held = psutil.Process().memory_info().rss
print(held - psutil.Process().memory_info().rss)
"""

_GIVE_BACK = """
import psutil, torch
from sparring.heap import give_back_freed_memory

blocks = [torch.ones(2**12) for _ in range(4096)]
last = torch.ones(1)
del blocks
held = psutil.Process().memory_info().rss
give_back_freed_memory()
print(held - psutil.Process().memory_info().rss)
"""

_COMPILE = """
import sys, psutil, torch
from sparring.heap import give_back_freed_memory, keep_few_kernels

if sys.argv[1] == "few":
    keep_few_kernels()
weight = torch.ones(512, 512, dtype=torch.bfloat16)
before = psutil.Process().memory_info().rss
for rows in range(64, 364):
    torch.nn.functional.linear(torch.ones(rows, 512, dtype=torch.bfloat16), weight)
give_back_freed_memory()
print(psutil.Process().memory_info().rss - before)
"""


def _printed(code: str, *arguments: str) -> int:
    # Without what this process, in which models were loaded, has set for itself.
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_CACHE_CAPACITY")}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout)


def _faults(how: str) -> int:
    return _printed(_COUNT_FAULTS, how)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_large_blocks_are_faulted_in_once() -> None:
    pages = 32 * 2**26 // 4096
    if _faults("given back") < pages // 2:
        pytest.skip("this C library, or the system's large pages, keep freed memory of their own")
    # Something small may be put into a freed block, so that the next one is asked for elsewhere. That happens a few
    # times in the life of a process, four at most in the runs of this test; given back, all 32 are asked for each time.
    assert _faults("kept") < pages // 2


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_what_is_free_in_the_end_goes_back() -> None:
    """Nearly all of 64 blocks of 4 MiB, though something that lives on was put behind them."""
    assert _printed(_HOLD) > 0.9 * 64 * 2**22


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_what_was_freed_outside_of_a_training_goes_back_when_told() -> None:
    """Blocks of 16 KiB, which glibc keeps in its heap; something that lives on was put behind them."""
    assert _printed(_GIVE_BACK) > 0.9 * 4096 * 2**14


@pytest.mark.skipif(sys.platform != "linux", reason="what is free is given back first, by glibc")
def test_products_with_ever_other_numbers_of_rows_do_not_fill_the_memory() -> None:
    """300 numbers of rows; at most 128 of their kernels are kept in each of two caches."""
    all_kept = _printed(_COMPILE, "all")
    if all_kept < 2**26:
        pytest.skip("this processor's library keeps no kernels of products in bf16")
    assert _printed(_COMPILE, "few") < 0.6 * all_kept
