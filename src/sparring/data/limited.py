"""A time limit on code that others wrote, such as a chat template, which is a program."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Ends Python code in the block that takes longer; in the main thread alone, where signals are handled.

    Raises:
        TimeoutError: It took longer.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getitimer(signal.ITIMER_REAL)[0] > 0:
        # Somebody else's clock runs already, and there is only one.
        yield
        return

    def end(_: int, __: FrameType | None) -> None:
        raise TimeoutError(f"it does not end within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, end)
    # Again and again: an error within a destructor or a callback of the collector is passed over by Python.
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
