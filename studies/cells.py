"""Cells and tables of a Markdown page."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev

from sparring.metrics import Estimate


def spread(values: Sequence[float], digits: int) -> str:
    """Their mean, and where they are several their standard deviation."""
    return plain(f"{mean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""))


def signed(estimate: Estimate, digits: int) -> str:
    """A difference with its standard error; bold where it is more than three of them."""
    bold = "**" if abs(estimate.mean) > 3 * estimate.standard_error > 0 else ""
    return plain(f"{bold}{estimate.mean:+.{digits}f} ± {estimate.standard_error:.{digits}f}{bold}")


def plain(text: str) -> str:
    """With minus signs."""
    return text.replace("-", "−")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in lines)
