"""Plays many iterations of a tiny run in one process, and measures its memory and its folder after each.

Memory must not grow once the first iterations have warmed up the allocator and the libraries' caches; of the folder,
where the run keeps as little as it may, only what every iteration leaves for the report may grow.

    python campaigns/long.py --iterations 30 --seed 0 [--lora] [--json FILE]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import torch

from ground import Figures, save_tiny, write_tiny_config
from sparring.selfplay import loop
from sparring.selfplay.config.schema import SelfPlayConfig

WARM = 5
# The log, the evaluations and the report of an iteration, which the process reads again, are some tens of KiB.
MOST_KIB = 250.0


def _bytes(folder: Path, *names: str) -> int:
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and (not names or any(part in names for part in path.relative_to(folder).parts))
    )


def _slope(values: Sequence[float]) -> float:
    """The growth an iteration, by least squares."""
    mean_x, mean_y = (len(values) - 1) / 2, sum(values) / len(values)
    spread = sum((x - mean_x) ** 2 for x in range(len(values)))
    return sum((x - mean_x) * (y - mean_y) for x, y in enumerate(values)) / spread


def measure(iterations: int, seed: int, *, lora: bool, folder: Path) -> dict[str, list[float]]:
    """The resident memory in MiB, and the sizes of the folder's parts in KiB, after each iteration."""
    run = folder / "run"
    config = SelfPlayConfig.from_yaml(
        write_tiny_config(
            folder / "config.yaml",
            save_tiny(folder / "model"),
            iterations=iterations,
            seed=seed,
            lora={"r": 2} if lora else None,
            data={"source": "arithmetic", "limit": 8, "held_out": 2, "max_response_tokens": 12},
            warmup=None,
            stop={"enabled": False},
            keep={"models": 1, "samples": 0},
        )
    )
    found: dict[str, list[float]] = {"memory_mib": [], "weights_and_samples_kib": [], "everything_kib": []}
    names = vars(loop)
    retain = names["retain"]

    def look(*args: Any, **kwargs: Any) -> None:
        retain(*args, **kwargs)
        found["memory_mib"].append(round(psutil.Process().memory_info().rss / 2**20, 2))
        parts = ("model", "training", "samples", "judgements", "scores")
        found["weights_and_samples_kib"].append(round(_bytes(run / "iterations", *parts) / 2**10, 1))
        found["everything_kib"].append(round(_bytes(run) / 2**10, 1))

    names["retain"] = look
    try:
        loop.run(config)
    finally:
        names["retain"] = retain
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Plays, prints the figures, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    figures = Figures("long", options.seed)
    with tempfile.TemporaryDirectory(prefix="sparring-long-") as folder:
        found = measure(options.iterations, options.seed, lora=options.lora, folder=Path(folder))
    grows = {name: round(_slope(values[WARM:]), 3) for name, values in found.items()}
    figures.counts = {
        "iterations": options.iterations,
        "lora": options.lora,
        "growth_an_iteration_after_the_first_5": {
            "memory_kib": round(1024 * grows["memory_mib"], 1),
            "weights_and_samples_kib": grows["weights_and_samples_kib"],
            "everything_kib": grows["everything_kib"],
        },
        **found,
    }
    if 1024 * grows["memory_mib"] > MOST_KIB:
        figures.faults.append(f"memory grows by {1024 * grows['memory_mib']:.0f} KiB an iteration")
    # The best policy may be the base model, which is no folder of an iteration, or an iterate: one policy more.
    after = found["weights_and_samples_kib"][WARM:]
    if max(after) > 2.1 * min(after):
        figures.faults.append(f"weights and samples grow from {min(after)} to {max(after)} KiB")
    return figures.end(options.json)


if __name__ == "__main__":
    raise SystemExit(main())
