"""No space and no right, as the system and the libraries say it: one message, with what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from safetensors.torch import save_file

from sparring.disk import refusal
from sparring.errors import InputError, RunError

TENSORS = {"weight": torch.zeros(100_000)}
# By library: writes some 400 kB into a folder.
WRITERS: dict[str, Callable[[Path], object]] = {
    "torch": lambda folder: torch.save(TENSORS, folder / "optimizer.pt"),
    "safetensors": lambda folder: save_file(TENSORS, folder / "model.safetensors"),
    "pyarrow": lambda folder: parquet.write_table(pa.table({"x": list(range(100_000))}), folder / "x.parquet"),
    "python": lambda folder: (folder / "x").write_bytes(b"x" * 400_000),
}


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The system refuses to let a file grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("library", WRITERS)
def test_what_does_not_fit_is_told_whatever_the_library_makes_of_it(library: str, tmp_path: Path) -> None:
    with largest_file(100_000), pytest.raises(Exception) as failed:  # noqa: PT011 - each has an error of its own
        WRITERS[library](tmp_path)
    told = refusal(failed.value, again="do it again")
    assert type(told) is RunError
    assert "larger than is allowed" in str(told)
    assert re.search(r"; (free some space, or )?raise the limit.*, then do it again$", str(told))


@pytest.mark.parametrize("library", WRITERS)
def test_what_may_not_be_written_is_told_whatever_the_library_makes_of_it(library: str) -> None:
    # Nobody may make a file there, not even root.
    with pytest.raises(Exception) as failed:  # noqa: PT011
        WRITERS[library](Path("/sys"))
    told = refusal(failed.value, again="do it again")
    assert type(told) is InputError
    assert told.problem.startswith(("this user has no right to it", "lies on a file system that can only be read"))
    assert "/sys" in str(told) or library == "torch"
    assert "take another place (output=PATH" in str(told.fix)


@pytest.mark.parametrize(
    ("number", "problem"),
    [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the disk quota is used up")],
)
def test_no_space_is_told_with_its_file(number: int, problem: str) -> None:
    told = refusal(OSError(number, os.strerror(number), "RUN/metrics.jsonl"), again="do it again")
    assert str(told) == f"{problem} (RUN/metrics.jsonl); free some space, then do it again"
    # As Rust's libraries say it, and as a library that raises while it handles it.
    assert refusal(ValueError(f"I/O error: {os.strerror(number)} (os error {number})"), again="") is not None
    closing = RuntimeError("closing failed")
    closing.__context__ = OSError(number, os.strerror(number))
    assert type(refusal(closing, again="")) is RunError


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to")]
)
def test_no_memory_is_told(error: Exception) -> None:
    told = refusal(error, again="do it again")
    assert type(told) is RunError
    assert str(told).startswith("there is not enough memory (")
    assert str(told).endswith("then do it again")


def test_memory_that_torch_does_not_get_is_told() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55)
    assert type(refusal(caught.value, again="")) is RunError


def test_a_disk_that_fails_is_told() -> None:
    told = refusal(OSError(errno.EIO, os.strerror(errno.EIO), "RUN/x"), again="do it again")
    assert str(told) == "the disk failed (Input/output error) (RUN/x); check it, then do it again"


@pytest.mark.parametrize(
    "error", [ValueError("a bug"), FileNotFoundError(errno.ENOENT, "No such file", "x"), RuntimeError("unexpected end")]
)
def test_any_other_error_stays_what_it_is(error: Exception) -> None:
    assert refusal(error, again="") is None


def test_an_error_from_before_is_not_taken_for_the_cause_of_a_bug() -> None:
    """That a file could not be read, and what was done instead failed: only the second is told."""
    bug = ValueError("a bug")
    bug.__context__ = PermissionError(errno.EACCES, "Permission denied", "x")
    assert refusal(bug, again="") is None
