"""A run in one table: what was measured after every stage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.files import read_json
from sparring.run_directory import RunDirectory

# Key in evaluation.json, heading, digits.
COLUMNS: tuple[tuple[str, str, int], ...] = (
    ("accuracy/greedy", "accuracy, greedy", 3),
    ("accuracy/sampled", "accuracy, sampled", 3),
    ("log_likelihood/token", "log-likelihood / token", 3),
    ("length/sampled", "length", 1),
    ("kl_to_base", "KL to base", 2),
    ("divergence_estimate", "divergence estimate", 3),
)


@dataclass(frozen=True)
class Row:
    """A policy: what it is called, where it is, and what was measured, as `{"mean", "standard_error", "n"}`."""

    name: str
    path: str
    estimates: dict[str, dict[str, float]]

    def cell(self, key: str, digits: int) -> str:
        """An estimate as "mean ± standard error", a dash where there is none."""
        value = self.estimates.get(key)
        return "–" if value is None else f"{value['mean']:.{digits}f} ± {value['standard_error']:.{digits}f}"


@dataclass(frozen=True)
class Summary:
    """A run as far as it got."""

    path: Path
    config: dict[str, Any]
    manifest: dict[str, Any]
    rows: list[Row]
    result: dict[str, Any] | None
    events: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        policies = [{"name": row.name, "path": row.path, **row.estimates} for row in self.rows]
        return {"run": str(self.path), "result": self.result, "policies": policies}


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
    stages += [(f"iteration {number}", directory.iteration(number)) for number in range(config["iterations"])]
    rows = [
        Row(name, str(stage.path.relative_to(path)), read_json(stage.evaluation))
        for name, stage in stages
        if stage.evaluation.exists()
    ]
    result = read_json(directory.result) if directory.result.exists() else None
    return Summary(path, config, read_json(directory.manifest), rows, result, directory.events())
