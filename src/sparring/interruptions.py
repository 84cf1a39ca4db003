"""Signals that ask a process to end: Ctrl-C, SIGTERM, and SIGHUP, which a closed terminal sends.

While they are `heeded`, the first one raises `Interruption` in the main thread; inside `deferred` it waits until that
block asks for it, so that a checkpoint can be written first. A second one ends the process at once, and so does the
first where the main thread does not come back from a library, such as one that waits for another process.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

_HEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# `timeout`, and some launchers, send a signal both to a process and to its group; within this time it is one request.
_ONE_REQUEST_S = 1.0
# Python handles a signal when a call into a library returns; most calls return much earlier than this.
_PATIENCE_S = 10.0
# No signal has this number.
_OVER = b"\0"
_SHOW_CURSOR = "\x1b[?25h"


class Interruption(BaseException):
    """A signal asked the process to end.

    It is not an `Exception`, so code that catches all errors does not catch it.

    Attributes:
        signal: The signal.
    """

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__(self.signal.name)

    @property
    def exit_code(self) -> int:
        """The exit code of a process that a signal ended, as shells expect it: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signal


@dataclass
class _Heard:
    """The signals that arrived so far in the process `owner`, which heeds them."""

    owner: int = 0
    asked: int | None = None
    waits: bool = False
    terminals: tuple[int, ...] = ()


_heard = _Heard()
# In a forked process signals are no longer heeded: it would write its own into its parent's pipe.
os.register_at_fork(after_in_child=lambda: _heard.owner and signal.set_wakeup_fd(-1))


@contextmanager
def heeded(farewell: Callable[[], str]) -> Iterator[None]:
    """Heeds the signals while it is open, and then restores their former handlers.

    A signal that is ignored (`nohup`) stays ignored. Outside the main thread, where Python handles no signal, nothing
    changes.

    Args:
        farewell: The message if the process must end at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    global _heard  # noqa: PLW0603 - signals are the process's own
    _heard = _Heard(owner=os.getpid(), terminals=tuple(filter(os.isatty, (1, 2))))
    before = {number: signal.getsignal(number) for number in _HEEDED}
    # None stands for a handler that was not set in Python, and so could not be restored.
    taken = {number: handler for number, handler in before.items() if handler not in {signal.SIG_IGN, None}}
    for number in taken:
        signal.signal(number, _hear)
    try:
        with _watched(farewell):
            yield
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)
        _heard = _Heard()


@contextmanager
def deferred() -> Iterator[None]:
    """Within, a signal raises no `Interruption`, and the block asks `is_asked`; one that came is raised at its end."""
    check()
    _heard.waits = True
    try:
        yield
    finally:
        _heard.waits = False
    check()


def is_asked() -> bool:
    """Whether a signal asked this process to end."""
    return _heard.asked is not None


def check() -> None:
    """Raises the Interruption of a signal that arrived, if one did."""
    if _heard.asked is not None:
        raise Interruption(_heard.asked)


def _hear(number: int, _: FrameType | None) -> None:
    if os.getpid() != _heard.owner:
        _hear_as_child(number)
    elif _heard.asked is None:
        _heard.asked = number
        if number == signal.SIGHUP:
            _leave_terminal()
        if not _heard.waits:
            raise Interruption(number)
        _tell("stopping: the step that is under way and a checkpoint come first; once more ends it at once")


def _hear_as_child(number: int) -> None:
    """In a forked process, such as a data loader: SIGTERM ends it; any other signal reached its parent, which will."""
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


@contextmanager
def _watched(farewell: Callable[[], str]) -> Iterator[None]:
    """Runs a thread that learns of every signal as it arrives; the main thread may not learn of it for long."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    thread = threading.Thread(target=_watch, args=(reading, farewell), daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        # Not by closing the pipe: a forked process may still hold it.
        os.write(writing, _OVER)
        thread.join()
        os.close(writing)
        os.close(reading)


def _watch(reading: int, farewell: Callable[[], str]) -> None:
    """Reads signals until `heeded` ends, and ends the process where the main thread does not."""
    first, since = 0, 0.0
    while True:
        unheard = bool(first) and _heard.asked is None
        if unheard and not _heard.waits and time.monotonic() - since > _PATIENCE_S:
            _end(first, farewell)
        if not select.select([reading], [], [], 0.5 if unheard else None)[0]:
            continue
        arrived = os.read(reading, 1)
        if arrived == _OVER:
            return
        if arrived[0] in _HEEDED and not first:
            first, since = arrived[0], time.monotonic()
        elif arrived[0] in _HEEDED and time.monotonic() - since > _ONE_REQUEST_S:
            _end(arrived[0], farewell)


def _end(number: int, farewell: Callable[[], str]) -> None:
    _tell(f"stopped at once by {signal.Signals(number).name}: {farewell()}")
    os._exit(128 + number)


def _tell(text: str) -> None:
    """Writes past all buffers, since a handler may have interrupted code that holds one."""
    if os.environ.get("RANK", "0") == "0":
        with suppress(OSError):
            os.write(2, f"{_SHOW_CURSOR if os.isatty(2) else ''}\nsparring: {text}\n".encode())


def _leave_terminal() -> None:
    """Stops writing to a terminal that was closed: the error would end the process before its checkpoint."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in _heard.terminals:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
