"""Freed memory is kept: what was touched once is not faulted in again."""

import subprocess
import sys

import pytest

_COUNT_FAULTS = """
import resource, sys, torch
from sparring.trainer.memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""


def _faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", _COUNT_FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_large_blocks_are_faulted_in_once() -> None:
    pages = 8 * 2**26 // 4096
    if _faults("given back") < pages // 2:
        pytest.skip("this C library, or the system's large pages, keep freed memory of their own")
    # Something small may have been put into a freed block: then one of the eight is asked for elsewhere, once.
    assert _faults("kept") < pages // 4
