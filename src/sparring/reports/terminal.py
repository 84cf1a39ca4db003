"""The summary as a table in the terminal."""

from __future__ import annotations

from rich.table import Table

from sparring.reports.summary import COLUMNS, Summary


def table(summary: Summary) -> Table:
    """One row a policy, the best one marked; ± is the standard error over held-out prompts."""
    best = (summary.result or {}).get("best")
    n = next((int(value["n"]) for row in summary.rows for value in row.estimates.values()), 0)
    result = Table(title=f"{summary.path}: {n} held-out prompts", title_justify="left")
    result.add_column("policy")
    for _, heading, _ in COLUMNS:
        result.add_column(heading, justify="right")
    for row in summary.rows:
        marked = row.path == best
        cells = [row.cell(key, digits) for key, _, digits in COLUMNS]
        result.add_row(f"{row.name} (best)" if marked else row.name, *cells, style="bold" if marked else None)
    return result
