"""Progress for people: a live bar on a terminal, or a line now and then in a log file; one line remains at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from sparring.terminal import Terminal

console = Terminal(stderr=True)
_LINE_EVERY_S = 15.0
_in_parts = ContextVar("in_parts", default=False)


class Meter:
    """Counts finished units, and a second quantity whose rate is shown."""

    def __init__(self, title: str, total: int, unit: str, bar: Progress, before: int) -> None:
        self._title, self._total, self._unit, self._bar = title, total, unit, bar
        self._task = bar.add_task(title, total=total, completed=before, note="")
        self._done, self._before, self._quantity, self._note = before, before, 0, ""
        self._start = self._last_line = time.monotonic()

    def advance(self, done: int = 1, *, quantity: int = 0, note: str = "") -> None:
        """Adds finished units and their quantity, and refreshes the bar or writes a line."""
        self._done += done
        self._quantity += quantity
        self._note = note or self._note
        self._bar.update(self._task, completed=self._done, note=self._told())
        now = time.monotonic()
        if not console.is_terminal and self._done < self._total and now - self._last_line > _LINE_EVERY_S:
            self._last_line = now
            parts = [f"{self._title}: {self._done}/{self._total}", self._told(), self._left()]
            console.print("  ".join(filter(None, parts)))

    def end(self) -> None:
        """Writes the line that remains, whether or not all units were finished."""
        if _in_parts.get() and self._done >= self._total:
            return
        parts = [f"{self._title}: {self._done}/{self._total}", self._told(), f"in {duration(self._seconds)}"]
        unfinished = ["not finished"] if self._done < self._total else []
        console.print("  ".join(filter(None, parts + unfinished)))

    def _left(self) -> str:
        """The remaining time at the pace so far, in words; empty before there is a pace."""
        done = self._done - self._before
        return f"about {duration(self._seconds * (self._total - self._done) / done)} left" if done else ""

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._start

    def _told(self) -> str:
        rate = f"{self._quantity / max(self._seconds, 1e-9):,.0f} {self._unit}/s" if self._unit else ""
        return "  ".join(filter(None, (rate, self._note)))


@contextmanager
def progress(title: str, total: int, unit: str = "tokens", *, before: int = 0) -> Iterator[Meter]:
    """Shows progress over `total` units; one line remains when the block ends, by an error too.

    Args:
        title: The work, in words.
        total: The number of units.
        unit: The quantity whose rate is shown; none if empty.
        before: The units that were finished before, which do not count for the pace.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        meter = Meter(title, total, unit, bar, before)
        try:
            yield meter
        finally:
            # Written above the bar, which then disappears.
            meter.end()


@contextmanager
def in_parts(title: str) -> Iterator[None]:
    """Replaces the lines of several progresses by a single one."""
    start, before = time.monotonic(), _in_parts.set(True)
    try:
        yield
    finally:
        _in_parts.reset(before)
    console.print(f"{title}: in {duration(time.monotonic() - start)}")


def duration(seconds: float) -> str:
    """A duration in seconds, minutes or hours, whichever reads best."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
