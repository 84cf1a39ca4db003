"""The summary as tables in the terminal; ± is the standard error over held-out prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from sparring.progress import duration
from sparring.reports.cost import seconds_by_stage, stages_of
from sparring.reports.sparkline import sparkline
from sparring.reports.summary import PolicyRow, Summary

# The curves of training that are shown.
_CURVES = ("loss", "rewards/margins", "divergence_estimate")
_WIDEST = 48


@dataclass(frozen=True)
class Policies:
    """A table of the policies' estimates, with the best policy marked, and a curve of each column.

    It has one line for each policy or, in a narrow terminal, one for each estimate.

    Attributes:
        summary: The run.
    """

    summary: Summary

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table that fits."""
        wide = self._wide()
        yield wide if _fits(wide, console, options) else self._tall()
        if self.summary.ties:
            yield self.summary.ties

    def _wide(self) -> Table:
        rows, columns = self.summary.rows, self.summary.columns
        table = _table(self._title(), "policy")
        for key, heading, digits in columns:
            # Headings may break between words, cells not.
            width = max(len(row.cell(key, digits)) for row in rows)
            table.add_column(fill(heading, width, break_long_words=False), justify="right")
        for row in rows:
            cells = [row.cell(key, digits) for key, _, digits in columns]
            table.add_row(self._name(row), *cells, style=self._style(row))
        if len(rows) > 1:
            table.add_section()
            table.add_row("", *(self._curve(key) for key, _, _ in columns))
        return table

    def _tall(self) -> Table:
        table = _table(self._title(), "policy", "estimate")
        for key, heading, digits in self.summary.columns:
            table.add_section()
            table.add_row(heading, self._curve(key) if len(self.summary.rows) > 1 else "")
            for row in self.summary.rows:
                table.add_row(f"  {self._name(row)}", row.cell(key, digits), style=self._style(row))
        return table

    def _title(self) -> str:
        return f"{self.summary.path}: {self.summary.prompts} held-out prompts"

    def _name(self, row: PolicyRow) -> str:
        return f"{row.name} (best)" if self._is_best(row) else row.name

    def _style(self, row: PolicyRow) -> str | None:
        return "bold" if self._is_best(row) else None

    def _is_best(self, row: PolicyRow) -> bool:
        return row.path == (self.summary.result or {}).get("best")

    def _curve(self, key: str) -> RenderableType:
        return Curve([row.estimates.get(key, {}).get("mean") for row in self.summary.rows])


@dataclass(frozen=True)
class Compared:
    """A table of groups of runs; in a narrow terminal groups have letters, and their settings stand below it.

    Attributes:
        wide: The table with the settings of each group.
        lettered: The table with its letter.
        settings: The settings by letter.
    """

    wide: Table
    lettered: Table
    settings: Mapping[str, str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table that fits."""
        if _fits(self.wide, console, options):
            yield self.wide
            return
        yield self.lettered
        for letter, label in self.settings.items():
            yield Text(f"{letter}: {label}", overflow="fold")


def _fits(table: Table, console: Console, options: ConsoleOptions) -> bool:
    """Whether a table needs no folded cell."""
    return Measurement.get(console, options.update(width=10_000), table).maximum <= options.max_width


@dataclass(frozen=True)
class Curve:
    """A sparkline as wide as there is room.

    Attributes:
        values: The values, in order.
    """

    values: Sequence[float | None]

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """One block at least, and no more than there are values."""
        return Measurement(1, min(len(self.values), _WIDEST))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The line."""
        yield Text(sparkline(self.values, min(options.max_width, _WIDEST)))


def training(summary: Summary) -> Table:
    """The curves of training over the steps of all iterations, with the first and the last value."""
    table = _table(f"training, {len(summary.steps)} logged steps", "curve", "", "first", "last")
    for name in _CURVES:
        values = [step[name] for step in summary.steps if name in step]
        if values:
            table.add_row(name, Curve(values), f"{values[0]:.3g}", f"{values[-1]:.3g}")
    return table


def costs(summary: Summary) -> Table:
    """The time of each stage, over all iterations, and the peak of memory."""
    by_policy = seconds_by_stage(summary.events)
    seconds: Counter[str] = Counter()
    for stages in by_policy.values():
        seconds.update(stages)
    table = _table("cost", "stage", "time", "share")
    for stage in stages_of(by_policy):
        table.add_row(stage, duration(seconds[stage]), f"{seconds[stage] / max(seconds.total(), 1e-9):.0%}")
    table.add_section()
    table.add_row("all", duration(seconds.total()), "")
    if summary.result is not None:
        table.add_row("peak memory", f"{summary.result['peak_memory_gib']:.2f} GiB", "")
    return table


def _table(title: str, *headings: str) -> Table:
    """A table that folds what is too long instead of cutting it."""
    table = Table(title=title, title_justify="left")
    for n, heading in enumerate(headings):
        table.add_column(heading, justify="right" if n else "left", overflow="fold")
    return table
