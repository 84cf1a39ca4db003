"""A run as it lies on the disk, written by hand, with held-out answers, so that every number is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sparring.files import write_json, write_text
from sparring.metrics import Estimate
from sparring.run_directory import RunDirectory
from sparring.shard_files import write_shard
from sparring.shards import answers_path, log_ratios_path
from sparring.stage_directory import StageDirectory

PROMPTS = ("Add 1 and 2.", "Add 3 and 4.", "Name a <b>bold</b> café.", "Count to three.")
EXPERTS = ("= 3", "= 7", "the \U0001f980 café", "1 2 3")
# Who is right, prompt by prompt, in the greedy answers of base, warm-up and the iterations.
RIGHT = (
    (False, False, False, True),
    (True, False, False, True),
    (True, True, False, True),
    (True, True, True, True),
)


def estimate(values: Sequence[float]) -> dict[str, Any]:
    return Estimate.of(values).to_json()


def rate(values: Sequence[float]) -> dict[str, Any]:
    return Estimate.of_rate(values).to_json()


def answer(kind: str, index: int, text: str, **more: Any) -> dict[str, Any]:
    """An answer whose tokens are single characters."""
    ratios = np.array([0.25 * (number % 5 - 2) for number in range(len(text))], dtype=np.float32)
    return {
        "kind": kind,
        "index": index,
        "sample": -1 if kind == "expert" else 0,
        "prompt": PROMPTS[index % len(PROMPTS)],
        "text": text,
        "ends": np.arange(1, len(text) + 1, dtype=np.int32),
        "log_ratios": ratios,
        "log_prob": -1.0 - len(text),
        "finish_reason": "stop",
        "right": None,
    } | more


def write_answers(stage: StageDirectory, policy: int) -> None:
    rows = [answer("expert", index, text, log_prob=-float(4 - policy)) for index, text in enumerate(EXPERTS)]
    for kind in ("greedy", "sampled"):
        for index, right in enumerate(RIGHT[policy]):
            text = f"{EXPERTS[index] if right else 'no idea'}<|im_end|>"
            finish = "stop" if right else "length"
            rows.append(answer(kind, index, text, right=right, finish_reason=finish))
    write_shard(answers_path(stage), rows)


def write_run(
    path: Path,
    *,
    seed: int = 0,
    ended: bool = True,
    verified: bool = True,
    stopped_early: bool = False,
    objective: dict[str, Any] | None = None,
    iterations: int = 2,
) -> RunDirectory:
    """A base model, a warm-up and the first `iterations` of two iterations, the last the best."""
    directory = RunDirectory(path)
    chosen = objective or {"name": "spif", "beta": 1.0, "reward_bound": 2.0}
    config = {
        "output": str(path),
        "seed": seed,
        "iterations": 2,
        "model": {"name": "tiny"},
        "data": {"source": "arithmetic"},
        "objective": chosen,
        "opponent": {"name": "previous"},
        "regularizers": [{"name": "reverse-kl", "weight": 0.5}],
        "phases": [],
    }
    write_text(directory.config, yaml.safe_dump(config, sort_keys=False))
    settings = {name: value for name, value in chosen.items() if name != "name"}
    write_json(
        directory.manifest,
        {
            "command": ["sparring", "train", "quickstart", "output=a folder"],
            "versions": {"python": "3.11.7", "sparring": "0.1.0", "torch": "2.13.0+cpu"},
            "objective": {"name": chosen["name"], "settings": settings, "stability": "R/β = 2: converges"},
            "config": directory.config_digest(),
            "elsewhere": ["output"],
            "data": {"skipped": [], "train": {"examples": 16}, "held_out": {"examples": len(PROMPTS)}},
        },
    )
    stages = [directory.base, directory.warmup, *(directory.iteration(number) for number in range(iterations))]
    for policy, stage in enumerate(stages):
        if verified:
            write_answers(stage, policy)
        write_stage(stage, policy)
    log(directory, iterations)
    if ended:
        write_json(directory.stability, {"findings": []})
        write_json(
            directory.result,
            {
                "best": f"iterations/{iterations - 1:03d}",
                "metric": "accuracy/greedy",
                "stopped_early": stopped_early,
                "reason": "accuracy/greedy is 1; the best so far is 1",
                "peak_memory_gib": 1.5,
            },
        )
    return directory


def write_stage(stage: StageDirectory, policy: int) -> None:
    right = [float(each) for each in RIGHT[policy]]
    values = {"accuracy/greedy": rate(right), "finished/sampled": rate([1.0, 1.0, 1.0, 1.0])}
    if policy > 1:
        values |= {
            "divergence_estimate": {"mean": 0.5 - 0.1 * policy, "standard_error": 0.05, "n": 4},
            "truth/divergence": {"mean": 0.4, "standard_error": 0.02, "n": 4},
            "truth/forward_kl": {"mean": 0.7, "standard_error": 0.1, "n": 4},
        }
        rows = [{"index": n, "expert": 0.5 * n, "generated": [-0.5 * n, 0.25]} for n in range(len(PROMPTS))]
        write_shard(log_ratios_path(stage), rows)
    stage.take_inventory()
    write_json(stage.evaluation, values)


def log(directory: RunDirectory, iterations: int) -> None:
    directory.log({"stage": "warmup", "step": 1, "loss": 9.0})
    directory.log({"kind": "time", "stage": "evaluate", "policy": "base", "seconds": 20.0})
    for iteration in range(iterations):
        directory.log({"kind": "time", "stage": "generate", "iteration": iteration, "seconds": 100.0})
        directory.log({"stage": "judge", "iteration": iteration, "judge/ties": 3, "judge/cost": 0.5})
        for step in (1, 2):
            values = {"loss": 1.0 / step, "rewards/expert": 0.1 * step, "rewards/generated": -0.1 * step}
            directory.log({"stage": "train", "iteration": iteration, "step": step, "epoch": step / 2, **values})
        directory.log({"kind": "time", "stage": "train", "iteration": iteration, "seconds": 30.0})
        folder = f"iterations/{iteration:03d}"
        directory.log({"kind": "time", "stage": "evaluate", "policy": folder, "seconds": 50.0})
