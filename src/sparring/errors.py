"""Errors that a person can act on: what is wrong, where, and how to mend it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

# The user and password before the @ of an address; if the address has no scheme, only where there is a password. People
# do not escape passwords, so one may hold an @ or a slash; but digits and a slash are a port.
_USER = re.compile(
    r"""(?<=://)(?:[^\s/@:]*:(?!\d+/)[^\s"'<>]*|[^\s/"'<>]+)@|(?<![\w.+:-])[\w.+-]+:[^\s/:@]+@(?=[\w\[])"""
)

_LONGEST_LINE = 300


class SparringError(Exception):
    """Base of every error that sparring raises on purpose. The command line exits with 1.

    Its message repeats no `user:password@` of an address.
    """

    def __init__(self, message: str) -> None:
        super().__init__(without_user(message))


class InputError(SparringError, ValueError):
    """The input is wrong: a configuration, a data set, a path. The command line exits with 2.

    Args:
        problem: What is wrong, in one sentence.
        where: The file, row or setting that it was found in.
        fix: What to do about it.
    """

    def __init__(self, problem: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.problem = without_user(problem)
        self.where, self.fix = where and without_user(where), fix and without_user(fix)
        head = f"{where}: {problem}" if where else problem
        super().__init__(f"{head}\n  fix: {fix}" if fix else head)


def check_all(*checks: Callable[[], Any]) -> list[Any]:
    """Makes all checks, even after one has failed, so that a person can mend everything at once; returns their results.

    Raises:
        InputError: A check failed. If several did, one error tells all of them, a line each.
    """
    results, errors = [], []
    for check in checks:
        try:
            results.append(check())
        except InputError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        told = [f"{error.problem}; {error.fix}" if error.fix else error.problem for error in errors]
        others = [f"{error.where}: {text}" if error.where else text for error, text in zip(errors, told, strict=True)]
        raise InputError("\n  ".join([told[0], *others[1:]]), where=errors[0].where)
    return results


class RunError(SparringError, RuntimeError):
    """A run failed although its input was right; what was computed so far is on disk."""


class StopError(SparringError):
    """A signal ended a command on purpose; what was computed so far is on disk.

    Args:
        message: What to do to go on.
        exit_code: What the command line exits with, as a shell expects it of that signal.
    """

    def __init__(self, message: str, *, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(message)


def without_user(text: str) -> str:
    """The text with `***@` in place of the user and password of every address in it."""
    return _USER.sub("***@", text)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, its cause, the cause of that, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def in_a_line(told: str | BaseException) -> str:
    """The message of a library or a server in one line of a few hundred characters; of an empty error, its type."""
    line = " ".join(str(told).split())[:_LONGEST_LINE]
    return line or (type(told).__name__ if isinstance(told, BaseException) else "")


def did_you_mean(name: str, known: Iterable[str], *, meant: Mapping[str, str] | None = None) -> str:
    """Names the nearest known name, or all of them where none is near.

    Args:
        name: The unknown name.
        known: The known names.
        meant: Names that people use for known ones although they look nothing alike, and the known ones.
    """
    near = nearest(name, known := sorted(known), meant=meant)
    return f"did you mean '{near}'?" if near else f"known: {', '.join(known)}"


def nearest(
    name: str, known: Iterable[str], *, meant: Mapping[str, str] | None = None, like: float = 0.6
) -> str | None:
    """The known name most similar to `name`, ignoring case; None if none reaches the similarity `like`, from 0 to 1."""
    folded = {each.casefold(): each for each in known} | dict(meant or {})
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=like)
    return folded[near[0]] if near else None
