"""`sparring evaluate harness`."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sparring.cli.options import Json, Models, Trust

if TYPE_CHECKING:
    from rich.table import Table


def harness(  # noqa: PLR0917 - options of a command
    model: Models,
    tasks: Annotated[
        list[str], typer.Option("--tasks", help="Tasks, groups or patterns; or open-llm-leaderboard. May be repeated.")
    ],
    include: Annotated[
        list[Path] | None, typer.Option("--include", help="A folder of tasks of your own (*.yaml). May be repeated.")
    ] = None,
    shots: Annotated[
        int | None, typer.Option(min=0, help="Worked examples a prompt; by default the task's own.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take only so many documents of each task.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Requests that are computed at once.")] = 1,
    apply_chat_template: Annotated[
        bool, typer.Option("--apply-chat-template", help="Write prompts by the tokenizer's chat template.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="One seed in place of the harness's own four.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Where to keep a model's results; a run keeps those of its policies.")
    ] = None,
    trust_remote_code: Trust = False,
    json: Json = False,
) -> None:
    """Run tasks of lm-evaluation-harness; results that were kept are not computed again."""
    from sparring.cli.candidates import candidates, results_folder
    from sparring.cli.output import print_json, print_table
    from sparring.evaluation import HarnessSettings, load_benchmarks

    found = candidates(model, trust_remote_code=trust_remote_code)
    folders = [results_folder(item, output) for item in found]
    settings = HarnessSettings(
        shots=shots, limit=limit, batch_size=batch_size, chat_template=apply_chat_template, seed=seed
    )
    names = [name for text in tasks for name in text.split(",")]
    benchmarks = load_benchmarks(names, settings, include=include or [])
    rows: list[dict[str, Any]] = []
    for item, folder in zip(found, folders, strict=True):
        load = functools.cache(item.load)
        rows += [{"policy": item.name, **benchmark.measure(load, folder)} for benchmark in benchmarks]
    if json:
        print_json(rows)
    else:
        print_table(_table(rows))


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A table with a line for each task and metric, and a column for each policy."""
    from rich.table import Table

    policies = list(dict.fromkeys(row["policy"] for row in rows))
    table = Table("task", "metric")
    for heading in ("shots", "documents", *policies):
        table.add_column(heading, justify="right")
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        for line, value in _cells(row):
            cells.setdefault(line, {})[row["policy"]] = value
    for line, values in cells.items():
        table.add_row(*line, *(values.get(policy, "–") for policy in policies))
    return table


def _cells(row: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Task, metric, shots, documents and figure: of a task, of a group with figures of its own, or of its tasks."""
    results, task = row["results"], row["identity"]["task"]
    for name in [task] if _metrics(results.get(task, {})) else sorted(results):
        shots, documents = row["n-shot"].get(name, ""), row["n-samples"].get(name, {}).get("effective", "")
        for metric, (value, error) in _metrics(results[name]).items():
            shown = f"{value:.4f} ± {error:.4f}" if isinstance(error, float) else f"{value:.4f}"
            yield (name, metric, str(shots), str(documents)), shown


def _metrics(result: Mapping[str, Any]) -> dict[str, tuple[float, Any]]:
    """The harness's `metric,filter` and `metric_stderr,filter`, joined."""
    found = {}
    for key, value in result.items():
        metric, comma, rule = key.partition(",")
        if comma and not metric.endswith("_stderr") and isinstance(value, int | float):
            name = metric if rule == "none" else f"{metric} ({rule})"
            found[name] = (float(value), result.get(f"{metric}_stderr,{rule}"))
    return found
