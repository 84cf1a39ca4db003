"""Errors of the system when it refuses to write or read a file, or has no memory left, in plain words."""

from __future__ import annotations

import errno
import os
import re

from sparring.errors import InputError, RunError, SparringError, causes, in_a_line

_SPACE = "free some space"
# By the number of the error: what is wrong, and how to mend it.
_FULL = {
    errno.ENOSPC: ("the disk is full", _SPACE),
    errno.EDQUOT: ("the disk quota is used up", _SPACE),
    errno.EIO: (f"the disk failed ({os.strerror(errno.EIO)})", "check it"),
    errno.ESTALE: (f"the network file system failed ({os.strerror(errno.ESTALE)})", "check it"),
    errno.EFBIG: ("a file would be larger than is allowed (ulimit -f, or its file system)", "raise the limit"),
}
_CLOSED = {
    errno.EROFS: "lies on a file system that can only be read",
    errno.EACCES: "this user has no right to it",
    errno.EPERM: "this user has no right to it",
}
_ELSEWHERE = "take another place (output=PATH, --to FILE, SPARRING_CACHE)"
_MISNAMED = {
    errno.EISDIR: "is a folder where a file should be",
    errno.ENOTDIR: "lies in a file as if that were a folder",
    errno.EEXIST: "is a file where a folder should be",
    errno.ENAMETOOLONG: "has too long a name",
}
# torch.save gives no reason.
_TORCH = re.compile(r"unexpected pos \d+ vs \d+|PytorchStreamWriter failed|iostream error")
_TORCH_PROBLEM = "a file could not be written to its end: there is no space, or it would be larger than is allowed"
# The errors for a lack of memory: torch has one for each device, numpy and the system have their own.
_MEMORY = re.compile(r"out of memory|(?:can't|cannot|unable to) allocate", re.IGNORECASE)
_MEMORY_CURE = "take smaller batches, shorter responses or a smaller model (`sparring plan` estimates what they need)"
_TORCH_CURE = f"{_SPACE}, or raise the limit (ulimit -f)"


def refusal(error: BaseException, *, again: str) -> SparringError | None:
    """The error in plain words, if it is about disk or memory (no space, no right, no such name); None for any other.

    It is a RunError where there is no space, since the run may go on later, and an InputError where something that a
    person named is not allowed.

    Args:
        error: An OSError, or the error that a library raised in its place.
        again: What to do once there is space.
    """
    chain = list(causes(error))
    for number, (problem, cure) in _FULL.items():
        if any(_is(each, number) for each in chain):
            return RunError(f"{problem}{_place(error)}; {cure}, then {again}")
    if any(_TORCH.search(str(each)) for each in chain):
        return RunError(f"{_TORCH_PROBLEM}; {_TORCH_CURE}, then {again}")
    if any(isinstance(each, MemoryError) or _MEMORY.search(str(each)) for each in chain):
        return RunError(f"there is not enough memory ({in_a_line(error)}); {_MEMORY_CURE}, then {again}")
    for number, problem in _CLOSED.items():
        if _is(error, number):
            where, fix = _file(error) or str(error), f"change its rights, or {_ELSEWHERE}"
            return InputError(f"{problem} ({os.strerror(number)})", where=where, fix=fix)
    misnamed = _MISNAMED.get(error.errno or 0) if isinstance(error, OSError) else None
    return InputError(misnamed, where=_file(error), fix=_ELSEWHERE) if misnamed and _file(error) else None


def _is(error: BaseException, number: int) -> bool:
    """Whether an error has this number, or its text names it, as where a library wrapped it in an error of its own."""
    if isinstance(error, OSError):
        return error.errno == number
    return f"(os error {number})" in str(error) or os.strerror(number) in str(error)


def _file(error: BaseException) -> str:
    name = getattr(error, "filename", None)
    return os.fsdecode(name) if isinstance(name, str | bytes) else ""


def _place(error: BaseException) -> str:
    file = _file(error)
    return f" ({file})" if file else ""
