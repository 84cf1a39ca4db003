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
# `timeout`, and some launchers, send a signal to a process and to its group: that is one request, not two.
_ONE_REQUEST_S = 1.0
# Python hears a signal when a call into a library returns; most do so much earlier.
_PATIENCE_S = 10.0
# No signal has this number.
_OVER = b"\0"
_SHOW_CURSOR = "\x1b[?25h"


class Interruption(BaseException):
    """A signal asked the process to end.

    It is no `Exception`, so that nothing which catches errors takes it for one.

    Attributes:
        signal: The signal.
    """

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__(self.signal.name)

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signal


@dataclass
class _Heard:
    """What was heard so far in the process `owner`, where signals are heeded."""

    owner: int = 0
    asked: int | None = None
    waits: bool = False
    terminals: tuple[int, ...] = ()


_heard = _Heard()
# A forked process would write its own signals into its parent's pipe.
os.register_at_fork(after_in_child=lambda: _heard.owner and signal.set_wakeup_fd(-1))


@contextmanager
def heeded(farewell: Callable[[], str]) -> Iterator[None]:
    """Heeds the signals inside, and puts back what was done with them before.

    A signal that is ignored stays so (`nohup`). Outside the main thread, where Python hears no signal, nothing changes.

    Args:
        farewell: What to say where the process must end without unwinding.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    global _heard  # noqa: PLW0603 - signals are the process's own
    _heard = _Heard(owner=os.getpid(), terminals=tuple(filter(os.isatty, (1, 2))))
    before = {number: signal.getsignal(number) for number in _HEEDED}
    # None stands for a handler that was not set in Python, and could not be put back.
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
    """Lets a signal wait inside, until `is_asked` is asked; it is raised at the latest when the block has ended."""
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
    """Raises the Interruption that was asked for, if one was."""
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
    """In a forked process, such as one that loads data: its parent, which the terminal told too, will end it."""
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


@contextmanager
def _watched(farewell: Callable[[], str]) -> Iterator[None]:
    """Tells a thread of every signal as it arrives, which the main thread may not hear for long."""
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
    """Reads the signals until all is over, and ends the process where it must."""
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
    """Writes past all buffers: a handler may have interrupted somebody who writes."""
    if os.environ.get("RANK", "0") == "0":
        with suppress(OSError):
            os.write(2, f"{_SHOW_CURSOR if os.isatty(2) else ''}\nsparring: {text}\n".encode())


def _leave_terminal() -> None:
    """A terminal that was closed cannot be written to, and the error would end the process before its checkpoint."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in _heard.terminals:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
