"""The summary of a run: its settings, its events, and the estimates of every policy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.digests import DamagedError
from sparring.errors import InputError
from sparring.metrics.likelihood import LIKELIHOOD
from sparring.reports.samples import Answers, read_answers
from sparring.reports.settings import read_run_config
from sparring.run_directory import RunDirectory
from sparring.run_files import AGAIN, read_evaluation, read_manifest, read_result, read_stability
from sparring.settings import penalty
from sparring.stage_directory import StageDirectory

MORE_SFT = "more SFT"
"""The name of the policies of the control, before their number."""
_TIES = "In a win rate a tie counts half."
"""The remark below a table with win rates, on ties."""

# The entries of the manifest, and of result.json, that a report needs.
_OF_A_REPORT = ("command", "versions", "elsewhere", "data.train", "data.held_out", "data.skipped")
_OF_AN_END = ("metric", "reason", "stopped_early", "peak_memory_gib")
# Key in evaluation.json, heading, digits.
COLUMNS: tuple[tuple[str, str, int], ...] = (
    ("accuracy/greedy", "accuracy, greedy", 3),
    ("accuracy/sampled", "accuracy, sampled", 3),
    ("win_rate/base", "win rate over base", 3),
    ("preference/accuracy", "preference accuracy", 3),
    ("preference/margin", "preference margin", 2),
    (LIKELIHOOD, "log-likelihood / token", 3),
    ("length/sampled", "length", 1),
    ("kl_to_base", "KL to base", 2),
    ("divergence_estimate", "divergence estimate", 3),
)


@dataclass(frozen=True)
class PolicyRow:
    """A policy and its estimates.

    Attributes:
        name: Its name in tables.
        path: Its folder in the run.
        estimates: Its estimates, each `{"mean", "standard_error", "n"}` and, of a rate, `"interval"`, by name.
    """

    name: str
    path: str
    estimates: dict[str, dict[str, Any]]

    def cell(self, key: str, digits: int) -> str:
        """An estimate as "mean ± standard error", or a rate as "mean [interval]"; a dash for None."""
        value = self.estimates.get(key)
        if value is None:
            return "–"
        if "interval" not in value:
            return f"{value['mean']:.{digits}f} ± {value['standard_error']:.{digits}f}"
        low, high = (f"{end:.{digits - 1}f}" for end in value["interval"])
        return f"{value['mean']:.{digits}f} [{low}, {high}]"

    def mean(self, key: str) -> float | None:
        """The mean of an estimate; None for None."""
        value = self.estimates.get(key)
        return None if value is None else float(value["mean"])

    def bar(self, key: str) -> tuple[float, float]:
        """The ends of an estimate's error bar: a standard error below and above, or the interval of a rate."""
        value = self.estimates[key]
        mean, error = value["mean"], value["standard_error"]
        low, high = value.get("interval", (mean - error, mean + error))
        return low, high


@dataclass(frozen=True)
class PlayedPhase:
    """A phase of a run.

    Attributes:
        iterations: The numbers of its iterations.
        objective: The objective's name.
        settings: All its settings.
        stability: Its stability number in words, where it has one.
        opponent: The opponent's name.
        penalties: Its regularizers, each with its weight.
    """

    iterations: range
    objective: str
    settings: dict[str, Any]
    stability: str | None
    opponent: str
    penalties: tuple[str, ...]

    def __str__(self) -> str:
        objective = " ".join([self.objective, *(f"{name}={value}" for name, value in self.settings.items())])
        return " + ".join([objective, *self.penalties])


@dataclass(frozen=True)
class Summary:
    """A run, finished or not.

    Attributes:
        path: Its folder.
        config: The resolved configuration.
        manifest: Its manifest.
        rows: The policies with their estimates, in the order in which they were made.
        result: The content of result.json; None while the run goes on.
        events: The logged events.
        stability: The findings of the stability monitor after each iteration: `check`, `iteration`, `status` ("ok",
            "warn" or "alarm"), `value`, `threshold`, `text`.
    """

    path: Path
    config: dict[str, Any]
    manifest: dict[str, Any]
    rows: list[PolicyRow]
    result: dict[str, Any] | None
    events: list[dict[str, Any]]
    stability: list[dict[str, Any]]

    @property
    def phases(self) -> list[PlayedPhase]:
        """The phases in order; most runs have one."""
        schedule = self.config["phases"] or [self.config]
        objectives = self.manifest["phases"] if self.config["phases"] else [self.manifest["objective"]]
        phases: list[PlayedPhase] = []
        for config, objective in zip(schedule, objectives, strict=True):
            start = phases[-1].iterations.stop if phases else 0
            phases.append(
                PlayedPhase(
                    iterations=range(start, start + config["iterations"]),
                    objective=config["objective"]["name"],
                    settings=objective["settings"],
                    stability=objective["stability"],
                    opponent=config["opponent"]["name"],
                    penalties=tuple(penalty(each["name"], each) for each in config["regularizers"]),
                )
            )
        return phases

    @property
    def iterations(self) -> int:
        """The number of iterations of the whole run."""
        return self.phases[-1].iterations.stop

    @property
    def columns(self) -> list[tuple[str, str, int]]:
        """The columns in which some policy has a value."""
        return [column for column in COLUMNS if any(column[0] in row.estimates for row in self.rows)]

    @property
    def ties(self) -> str:
        """The remark on ties below a table with these columns; empty without a win rate."""
        return _TIES if any("win_rate/base" in row.estimates for row in self.rows) else ""

    @property
    def prompts(self) -> int:
        """The number of held-out prompts behind the estimates."""
        return next((int(value["n"]) for row in self.rows for value in row.estimates.values()), 0)

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The logged steps of training, iteration by iteration, without the warm-up, whose loss is another."""
        return [event for event in self.events if event.get("stage") == "train" and "loss" in event]

    @property
    def start(self) -> PolicyRow | None:
        """The policy that self-play starts from, if it was measured."""
        names = {"warm-up"} if self.config.get("warmup") else {"base", "warm-up"}
        return next((row for row in reversed(self.rows) if row.name in names), None)

    def best_of(self, kind: str, metric: str) -> PolicyRow | None:
        """The best policy by a metric among those whose names begin with "iteration", or with `MORE_SFT`.

        Among equals it is the one that finds the experts likeliest, as in the run, then the earliest.
        """
        known = [row for row in self.rows if row.name.startswith(kind) and metric in row.estimates]
        return max(known, key=lambda row: (row.mean(metric), _or_least(row.mean(LIKELIHOOD))), default=None)

    def answers(self) -> Answers | None:
        """Reads the responses to the held-out prompts; None where there are none."""
        return read_answers([(row.name, StageDirectory(self.path / row.path)) for row in self.rows])


def _or_least(value: float | None) -> float:
    return -math.inf if value is None else value


def summarize(path: Path) -> Summary:
    """Reads a run directory.

    Raises:
        InputError: The folder is not a run, or a file in it is damaged.
    """
    directory = RunDirectory(path)
    directory.require()
    config = read_run_config(directory.config)
    manifest = read_manifest(directory.manifest, *_OF_A_REPORT)
    if directory.config_digest() != manifest["config"]:
        raise DamagedError(
            "the configuration is not the one that the run was started or last resumed with",
            where=str(directory.config),
            fix=f"restore it; where it was changed on purpose, `sparring resume {path}` checks it and takes it over",
        )
    if config["phases"] and len(manifest.get("phases") or []) != len(config["phases"]):
        fix = "restore both files from a copy of the run"
        raise InputError("has other phases than config.yaml", where=str(directory.manifest), fix=fix)
    if not config["phases"] and "objective" not in manifest:
        fix = "restore both files from a copy of the run"
        raise InputError("has phases, and config.yaml has none", where=str(directory.manifest), fix=fix)
    stages = [("base", directory.base), ("warm-up", directory.warmup)]
    stages += [(f"iteration {int(stage.path.name)}", stage) for stage in directory.played()]
    stages += [(f"{MORE_SFT} {int(stage.path.name)}", stage) for stage in directory.controlled()]
    result = read_result(directory.result, *_OF_AN_END) if directory.result.exists() else None
    _check_lost(directory, [stage for _, stage in stages], ended=result is not None)
    rows = [
        PolicyRow(name, directory.name_of(stage), _estimates(stage))
        for name, stage in stages
        if stage.evaluation.exists()
    ]
    stability = read_stability(directory.stability) if directory.stability.exists() else []
    return Summary(path, config, manifest, rows, result, directory.events(), stability)


def _check_lost(directory: RunDirectory, stages: Sequence[StageDirectory], *, ended: bool) -> None:
    """Raises DamagedError if a file is missing that must have been written before another one that exists."""
    # A stage is measured before the next one is played, and has its inventory before it is measured.
    measured = [stage.evaluation.exists() for stage in stages]
    lost = [
        stage.evaluation
        for number, stage in enumerate(stages)
        if stage.inventory.exists() and not measured[number] and (ended or any(measured[number:]))
    ]
    if ended and directory.played() and not directory.stability.exists():
        lost.append(directory.stability)
    if lost:
        raise DamagedError("the file is missing", where=str(lost[0]), fix=AGAIN)


def _estimates(stage: StageDirectory) -> dict[str, dict[str, Any]]:
    stage.check_inventory(fix=AGAIN, folders=())
    return read_evaluation(stage.evaluation)
