"""`sparring evaluate win-rate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sparring.cli.options import Json

if TYPE_CHECKING:
    from rich.table import Table

    from sparring.evaluation import Annotations


def win_rate(
    annotations: Annotated[
        list[Path], typer.Argument(metavar="ANNOTATIONS...", help="Files that `alpaca_eval` or another judge wrote.")
    ],
    pool: Annotated[
        Path | None,
        typer.Option(help="A folder with other models' annotations.json: length-controlled win rates as well."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The seed of the bootstrap.")] = 0,
    json: Json = False,
) -> None:
    """Win rates against a baseline, from a judge's annotations."""
    from sparring.cli.output import print_json, print_table
    from sparring.evaluation import read_annotations, read_pool

    others = None if pool is None else read_pool(pool)
    rows = [row(item, others, seed) for path in annotations for item in read_annotations(path)]
    if json:
        print_json(rows)
    else:
        print_table(table(rows))


def row(annotations: Annotations, others: Sequence[Annotations] | None, seed: int) -> dict[str, Any]:
    """The win rates of one model, the counts of its verdicts, and mean lengths."""
    from dataclasses import asdict

    from sparring.evaluation import Pool, length_controlled_win_rate, tally, win_rate

    found: dict[str, Any] = {"model": annotations.model, "baseline": annotations.baseline}
    found["win_rate"] = asdict(win_rate(annotations, seed=seed))
    if others is not None:
        fitted = Pool.fit(others, of=annotations)
        controlled = length_controlled_win_rate(
            annotations, difficulty=fitted.difficulty, anchor=fitted.anchor, seed=seed
        )
        found["length_controlled_win_rate"] = asdict(controlled)
    lengths = {
        "model_length": float(annotations.model_length.mean()),
        "baseline_length": float(annotations.baseline_length.mean()),
    }
    return found | asdict(tally(annotations)) | lengths


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """A table with one line for each model."""
    from rich.table import Table

    rates = ["win_rate", "length_controlled_win_rate"] if "length_controlled_win_rate" in rows[0] else ["win_rate"]
    headings = ["win rate, %", "length-controlled, %"][: len(rates)]
    result = Table("model", "baseline")
    for heading in (*headings, "wins/losses/draws", "no verdict", "length", "baseline's"):
        result.add_column(heading, justify="right")
    for row in rows:
        verdicts = f"{row['wins']}/{row['losses']}/{row['draws']}"
        lengths = [f"{row[key]:.0f}" for key in ("model_length", "baseline_length")]
        shown = [_percent(row[key]) for key in rates]
        result.add_row(row["model"], row["baseline"], *shown, verdicts, str(row["unknown"]), *lengths)
    return result


def _percent(rate: dict[str, Any]) -> str:
    low, high = rate["interval"]
    return f"{100 * rate['rate']:.2f} ± {100 * rate['standard_error']:.2f} [{100 * low:.2f}, {100 * high:.2f}]"
