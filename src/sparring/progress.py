"""Progress that a person sees: a live bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

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


class Meter:
    """Counts finished units, and a second quantity whose rate is shown."""

    def __init__(self, title: str, total: int, unit: str, bar: Progress) -> None:
        self._title, self._total, self._unit, self._bar = title, total, unit, bar
        self._task = bar.add_task(title, total=total, note="")
        self._done, self._quantity = 0, 0
        self._start = self._last_line = time.monotonic()

    def advance(self, done: int = 1, *, quantity: int = 0, note: str = "") -> None:
        """Adds finished units and the quantity that they took, and refreshes what is shown."""
        self._done += done
        self._quantity += quantity
        now = time.monotonic()
        rate = f"{self._quantity / max(now - self._start, 1e-9):,.0f} {self._unit}/s" if self._unit else ""
        note = "  ".join(part for part in (rate, note) if part)
        self._bar.update(self._task, completed=self._done, note=note)
        ended = self._done >= self._total
        if not console.is_terminal and (ended or now - self._last_line > _LINE_EVERY_S):
            self._last_line = now
            console.print(f"{self._title}: {self._done}/{self._total}  {note}")


@contextmanager
def progress(title: str, total: int, unit: str = "tokens") -> Iterator[Meter]:
    """Shows progress over `total` units; `unit` names the quantity whose rate is shown, none if empty."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield Meter(title, total, unit, bar)


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
