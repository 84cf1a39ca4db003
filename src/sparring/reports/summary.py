"""A run in one table: what was measured after every stage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.files import read_json
from sparring.reports.samples import Answers, read_answers
from sparring.run_directory import RunDirectory, StageDirectory

# Key in evaluation.json, heading, digits.
COLUMNS: tuple[tuple[str, str, int], ...] = (
    ("accuracy/greedy", "accuracy, greedy", 3),
    ("accuracy/sampled", "accuracy, sampled", 3),
    ("win_rate/base", "win rate over base", 3),
    ("log_likelihood/token", "log-likelihood / token", 3),
    ("length/sampled", "length", 1),
    ("kl_to_base", "KL to base", 2),
    ("divergence_estimate", "divergence estimate", 3),
)


@dataclass(frozen=True)
class PolicyRow:
    """A policy: what it is called, where it is, and what was measured, as `{"mean", "standard_error", "n"}`."""

    name: str
    path: str
    estimates: dict[str, dict[str, float]]

    def cell(self, key: str, digits: int) -> str:
        """An estimate as "mean ± standard error", a dash where there is none."""
        value = self.estimates.get(key)
        return "–" if value is None else f"{value['mean']:.{digits}f} ± {value['standard_error']:.{digits}f}"


@dataclass(frozen=True)
class PlayedPhase:
    """Iterations that were played alike.

    Attributes:
        iterations: Which of the run's.
        objective: The objective's name.
        settings: All its settings, where the manifest has them.
        stability: Its stability number in words, where it has one.
        opponent: The opponent's name.
    """

    iterations: range
    objective: str
    settings: dict[str, Any]
    stability: str | None
    opponent: str

    def __str__(self) -> str:
        return " ".join([self.objective, *(f"{name}={value}" for name, value in self.settings.items())])


@dataclass(frozen=True)
class Summary:
    """A run as far as it got.

    Attributes:
        path: Its folder.
        config: The resolved configuration.
        manifest: What it was played with.
        rows: What was measured on each policy, in the order in which they were made.
        result: How it ended; None while it has not.
        events: What was logged.
        stability: What the monitor of stability made of each iteration: `check`, `iteration`, `status` ("ok", "warn" or
            "alarm"), `value`, `threshold`, `text`.
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
        """What was played, in order; most runs have one phase."""
        schedule = self.config.get("phases") or [self.config]
        known = self.manifest.get("phases") or [self.manifest.get("objective", {})] * len(schedule)
        phases: list[PlayedPhase] = []
        for config, objective in zip(schedule, known, strict=True):
            start = phases[-1].iterations.stop if phases else 0
            phases.append(
                PlayedPhase(
                    iterations=range(start, start + config["iterations"]),
                    objective=config["objective"]["name"],
                    settings=objective.get("settings", {}),
                    stability=objective.get("stability"),
                    opponent=config["opponent"]["name"],
                )
            )
        return phases

    @property
    def iterations(self) -> int:
        """How many iterations the run would play."""
        return self.phases[-1].iterations.stop

    @property
    def columns(self) -> list[tuple[str, str, int]]:
        """The columns in which some policy has a value."""
        return [column for column in COLUMNS if any(column[0] in row.estimates for row in self.rows)]

    @property
    def prompts(self) -> int:
        """How many held-out prompts the estimates are over."""
        return next((int(value["n"]) for row in self.rows for value in row.estimates.values()), 0)

    @property
    def steps(self) -> list[dict[str, Any]]:
        """What was logged in training, the iterations one after the other; the warm-up has another loss."""
        return [event for event in self.events if event.get("stage") == "train" and "loss" in event]

    def answers(self) -> Answers | None:
        """Reads what was answered to the held-out prompts; None where none of it was kept."""
        return read_answers([(row.name, StageDirectory(self.path / row.path)) for row in self.rows])


def summarize(path: Path) -> Summary:
    """Reads a run directory.

    Raises:
        InputError: It is no run.
    """
    import yaml

    directory = RunDirectory(path)
    directory.require()
    config = yaml.safe_load(directory.config.read_text(encoding="utf-8"))
    stages = [("base", directory.base), ("warm-up", directory.warmup)]
    played = sorted((path / "iterations").glob("[0-9]*"))
    stages += [(f"iteration {int(folder.name)}", StageDirectory(folder)) for folder in played]
    rows = [
        PolicyRow(name, str(stage.path.relative_to(path)), read_json(stage.evaluation))
        for name, stage in stages
        if stage.evaluation.exists()
    ]
    result = read_json(directory.result) if directory.result.exists() else None
    stability = read_json(directory.stability) if directory.stability.exists() else []
    return Summary(path, config, read_json(directory.manifest), rows, result, directory.events(), stability)
