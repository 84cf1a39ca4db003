"""A run as it lies on the disk when it has ended, written by hand, so that every number is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sparring.files import write_json, write_text
from sparring.run_directory import RunDirectory
from sparring.selfplay.config.schema import SelfPlayConfig

VERSIONS = {"python": "3.11.7", "sparring": "0.1.0", "torch": "2.13.0"}


def estimate(mean: float) -> dict[str, float]:
    return {"mean": mean, "standard_error": 0.025, "n": 8}


def write_run(path: Path, *, ended: bool = True, **changes: Any) -> RunDirectory:
    """A base model, a warm-up and two iterations, the first the best; `changes` are to the configuration."""
    settings = {"data": {"source": "arithmetic", "limit": 16, "held_out": 8}, "warmup": {}, "seed": 7}
    directory = RunDirectory(path)
    write_text(directory.config, SelfPlayConfig.model_validate(settings | changes).to_yaml())
    counts = {"truncated_responses": 0}
    data = {
        "read": 24,
        "kept": 24,
        "skipped": [],
        "train": {"examples": 16} | counts,
        "held_out": {"examples": 8} | counts,
        "warmup": {"trained": 12, "validation": 3},
    }
    objective = {"name": "spif", "settings": {"beta": 1.0, "reward_bound": 2.0}, "stability": "R/β = 2: converges"}
    manifest = {
        "command": ["sparring", "train", "quickstart"],
        "versions": VERSIONS,
        "seed": 7,
        "objective": objective,
        "config": directory.config_digest(),
        "elsewhere": ["output"],
        "data": data,
    }
    write_json(directory.manifest, manifest)
    stages = (directory.base, directory.warmup, directory.iteration(0), directory.iteration(1))
    for number, stage in enumerate(stages):
        values = {"accuracy/greedy": estimate((0.125, 0.5, 0.75, 0.25)[number])}
        if number > 1:
            values["divergence_estimate"] = estimate(0.1 * number)
        stage.take_inventory()
        write_json(stage.evaluation, values)
    directory.log({"stage": "warmup", "step": 1, "loss": 90.0})
    for iteration in range(2):
        for step, loss in enumerate((0.0, -1.5, -3.0), start=1):
            directory.log({"stage": "train", "iteration": iteration, "step": step, "loss": loss})
        directory.log({"kind": "time", "stage": "train", "iteration": iteration, "seconds": 30.0})
    directory.log({"kind": "time", "stage": "evaluate", "policy": "base", "seconds": 20.0})
    if ended:
        reason = "accuracy/greedy fell from 0.75 to 0.25 [hard]"
        write_json(directory.stability, {"findings": []})
        write_json(
            directory.result,
            {
                "best": "iterations/000",
                "model": "iterations/000/model",
                "metric": "accuracy/greedy",
                "stopped_early": True,
                "reason": reason,
                "peak_memory_gib": 1.5,
            },
        )
    return directory
