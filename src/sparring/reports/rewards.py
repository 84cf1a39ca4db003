"""Charts of the implicit rewards of the expert's and the generated responses, by iteration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sparring.reports.curves import Chart, number
from sparring.reports.summary import PlayedPhase, Summary
from sparring.run_directory import RunDirectory
from sparring.shard_files import read_columns
from sparring.shards import LogRatioRow, log_ratios_path

_QUANTILES = 401


def reward_charts(summary: Summary) -> list[Chart]:
    """The rewards βΔ of the held-out responses after each iteration, with ±R where the objective bounds them.

    There is one chart for each phase. For objectives without a β, which have no reward, it shows the log ratios Δ.
    """
    charts = []
    for place, phase in enumerate(summary.phases):
        beta, bound = phase.settings.get("beta"), phase.settings.get("reward_bound")
        series = _series(summary, phase, scale=1.0 if beta is None else beta)
        if series:
            title = "Log ratios to the opponent" if beta is None else "Rewards of held-out responses"
            charts.append(
                Chart(
                    title=title if len(summary.phases) == 1 else f"{title}, phase {place}: {phase.objective}",
                    unit="Δ, nats" if beta is None else f"βΔ, β = {beta:g}",
                    kind="distributions",
                    series=series,
                    lines=[] if bound is None else [_line(bound, f"R = {bound:g}"), _line(-bound, f"−R = −{bound:g}")],
                )
            )
    return charts


def _series(summary: Summary, phase: PlayedPhase, *, scale: float) -> list[dict[str, Any]]:
    directory = RunDirectory(summary.path)
    return [
        trace
        for stage in directory.played()
        if int(stage.path.name) in phase.iterations and (shard := log_ratios_path(stage)).exists()
        for trace in _traces(f"iteration {int(stage.path.name)}", shard, scale=scale)
    ]


def _line(value: float, text: str) -> dict[str, Any]:
    return {"y": value, "text": text}


def _traces(label: str, shard: Path, *, scale: float) -> list[dict[str, Any]]:
    table = read_columns(shard, LogRatioRow)
    values = {
        "expert": table["expert"].to_numpy(),
        "generated": table["generated"].combine_chunks().flatten().to_numpy(),
    }
    thinned = {side: _thinned(scale * each) for side, each in values.items()}
    return [{"name": side, "x": label, "y": each} for side, each in thinned.items() if each]


def _thinned(values: np.ndarray) -> list[float | None]:
    """All finite values, or enough evenly spaced quantiles for the distribution to look the same."""
    values = values[np.isfinite(values)]
    if len(values) > _QUANTILES:
        values = np.quantile(values, np.linspace(0.0, 1.0, _QUANTILES))
    return [number(float(value)) for value in values]
