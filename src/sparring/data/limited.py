"""A time limit on code of others, such as a chat template."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Ends Python code in the block after a time; only in the main thread, where Python handles signals.

    Raises:
        TimeoutError: The block took longer.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getitimer(signal.ITIMER_REAL)[0] > 0:
        # Another user's timer runs already, and a process has only one.
        yield
        return

    def end(_: int, __: FrameType | None) -> None:
        raise TimeoutError(f"it does not end within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, end)
    # Raised repeatedly, since Python ignores an error within a destructor or a callback of the garbage collector.
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
