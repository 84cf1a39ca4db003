"""What the system says when it refuses to write or read a file, in plain words."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator

from sparring.errors import InputError, RunError, SparringError

_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file would be larger than is allowed here (ulimit -f, or its file system)",
}
_CLOSED = {
    errno.EROFS: "lies on a file system that can only be read",
    errno.EACCES: "this user has no right to it",
    errno.EPERM: "this user has no right to it",
}
# torch.save says no reason.
_TORCH = re.compile(r"unexpected pos \d+ vs \d+|PytorchStreamWriter failed|iostream error")
_TORCH_PROBLEM = "a file could not be written to its end: the disk is full, or a limit is reached (quota, ulimit -f)"


def refusal(error: BaseException, *, again: str) -> SparringError | None:
    """The error in plain words, if it is that there is no space, or no right; None for any other.

    What there is no space for may go on later, so that a run failed; what is not allowed was named by a person.

    Args:
        error: An OSError, or what a library made of it.
        again: What to do when there is space.
    """
    chain = list(_chain(error))
    for number, problem in _FULL.items():
        if any(_is(each, number) for each in chain):
            return RunError(f"{problem}{_place(error)}; free some space, then {again}")
    if any(_TORCH.search(str(each)) for each in chain):
        return RunError(f"{_TORCH_PROBLEM}; free some space, then {again}")
    for number, problem in _CLOSED.items():
        if _is(error, number):
            fix = "change its rights, or take another place (output=PATH, --to FILE, SPARRING_CACHE)"
            return InputError(f"{problem} ({os.strerror(number)})", where=_file(error) or str(error), fix=fix)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is(error: BaseException, number: int) -> bool:
    """Whether an error is of a number, or tells of it: libraries wrap it in errors of their own."""
    if isinstance(error, OSError):
        return error.errno == number
    return f"(os error {number})" in str(error) or os.strerror(number) in str(error)


def _file(error: BaseException) -> str:
    name = getattr(error, "filename", None)
    return os.fsdecode(name) if isinstance(name, str | bytes) else ""


def _place(error: BaseException) -> str:
    file = _file(error)
    return f" ({file})" if file else ""
