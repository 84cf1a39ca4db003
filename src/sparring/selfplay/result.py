"""The result of a run, and its file."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from pathlib import Path

from sparring.digests import DamagedError
from sparring.files import write_json
from sparring.progress import console
from sparring.run_directory import RunDirectory
from sparring.run_files import read_result
from sparring.selfplay.early_stop import Standing
from sparring.selfplay.run import Run
from sparring.work import processes


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of a run.

    Attributes:
        directory: The run directory.
        best: The weights of the best policy; None when it is the base model itself.
        stopped_early: Whether the run was ended before its last iteration, since a policy fell too far below the best
            one, or a check in `stop.alarms` raised the alarm.
        reason: Why it ended, in plain words.
    """

    directory: Path
    best: Path | None
    stopped_early: bool
    reason: str


def known_result(directory: RunDirectory) -> Result | None:
    """The result of a run that has ended, read from its files; None if it has not ended, or the files are damaged.

    Neither the model nor any code of the run is read.
    """
    if not directory.result.exists():
        return None
    try:
        said = read_result(directory.result)
    except DamagedError:
        return None
    # By name: it comes from the run, and a path could lead out of it.
    models = {stage.path: stage.model for stage in directory.stages()} | {directory.base.path: None}
    folder = directory.path / said["best"]
    if folder not in models:
        return None
    best, stopped_early = models[folder], said.get("stopped_early", False)
    return Result(directory=directory.path, best=best, stopped_early=stopped_early, reason=said.get("reason", ""))


def conclude(run: Run, standing: Standing) -> Result:
    """Writes result.json, which marks the run as ended."""
    best = run.directory.weights(standing.best)
    processes.on_main(lambda: _write(run, standing, best))
    return Result(directory=run.directory.path, best=best, stopped_early=standing.stop, reason=standing.reason)


def _write(run: Run, standing: Standing, best: Path | None) -> None:
    try:
        before = read_result(run.directory.result) if run.directory.result.exists() else {}
    except DamagedError as error:
        console.print(f"{error.where}: {error.problem}; it is written again")
        before = {}
    write_json(
        run.directory.result,
        {
            "best": run.directory.name(standing.best),
            "model": None if best is None else str(best.relative_to(run.directory.path)),
            "metric": standing.metric,
            "stopped_early": standing.stop,
            "reason": standing.reason,
            "log_lines": run.directory.log_lines(),
            "peak_memory_gib": max(round(_peak_memory_bytes() / 2**30, 3), before.get("peak_memory_gib", 0.0)),
        },
    )


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
