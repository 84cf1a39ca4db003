"""Results go to standard output, for people as tables and for programs as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from sparring.json_text import to_json
from sparring.terminal import Terminal

# Lines are not wrapped, so that a program can read them.
out = Terminal(soft_wrap=True)


def print_json(value: Any) -> None:
    """Prints one JSON document."""
    out.print(to_json(value, indent=2))


def print_lines(lines: Iterable[str]) -> None:
    """Prints plain lines."""
    for line in lines:
        out.print(line)


def print_table(table: RenderableType) -> None:
    """Prints a table without markup, as wide as the terminal, or 160 columns where it goes to a file."""
    width = None if out.is_terminal else 160
    Terminal(width=width).print(table, soft_wrap=False)


def print_report(run: Path, *, as_json: bool, to: Path | None = None) -> None:
    """Writes a run's report, `RUN/report.html` or `to`, and prints its table, how it ended, and where the report is."""
    from sparring.reports.conclusion import conclude
    from sparring.reports.plain import plain
    from sparring.reports.run import write_report
    from sparring.reports.summary import summarize
    from sparring.reports.terminal import Policies, costs, training

    summary = summarize(run)
    report = write_report(summary, to)
    if as_json:
        print_json(plain(summary) | {"report": str(report)})
        return
    conclusion = conclude(summary, summary.answers())
    print_table(Policies(summary))
    warnings = [f"Beware: {warning}" for warning in conclusion.warnings]
    print_lines([conclusion.headline, *conclusion.sentences, *warnings])
    if summary.steps:
        print_table(training(summary))
    if any(event.get("kind") == "time" for event in summary.events):
        print_table(costs(summary))
    print_lines([f"report: {report.resolve()}"])
