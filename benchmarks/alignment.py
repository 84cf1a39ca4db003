"""Self-play with a judge, algorithm beside algorithm: arithmetic, its verifier, SmolLM2-135M, several seeds.

    python benchmarks/alignment.py FOLDER [--seeds 0 1 2] [--algorithms NAME …] [--json FILE] [--table]

For each seed: a start, SmolLM2 after supervised fine-tuning on the recipes' 64 training problems; then from that start
every algorithm, three iterations with K = 4 samples a prompt. Each is an ordinary run in FOLDER, so the command can be
stopped and started again: what is finished is not done twice. `--table` only reads what is there.

Every algorithm of a seed has the same start, problems and seeds of sampling, so the differences are within seeds.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from measuring import hardware, versions
from sparring.files import read_json
from sparring.run_directory import RunDirectory

# Recipe, and what makes the algorithm of it.
ALGORITHMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "sppo": ("sppo", ()),
    "rspo-reverse": ("rspo", ()),
    "rspo-forward": ("rspo", ("regularizers=[{name: forward-kl, weight: 0.1}]",)),
    "rspo-both": (
        "rspo",
        ("regularizers=[{name: reverse-kl, weight: 0.1}, {name: forward-kl, weight: 0.1}]",),
    ),
    "inpo": ("inpo", ()),
    "nash-md": ("nash-md", ()),
    "iterative-dpo": ("iterative-dpo", ()),
}
ITERATIONS = 3
COLUMNS = (
    "accuracy/greedy",
    "accuracy/sampled",
    "kl_to_base",
    "length/sampled",
    "distinct/2",
    "log_likelihood/token",
)


def main() -> None:
    """Plays what is missing, then prints and stores the table."""
    options = arguments()
    if not options.table:
        for seed in options.seeds:
            start = started(options.folder, seed)
            for name in options.algorithms:
                play(options.folder / f"seed-{seed}" / name, algorithm(name, start, seed))
    found = {
        name: [values for seed in options.seeds if (values := read(options.folder / f"seed-{seed}" / name))]
        for name in options.algorithms
    }
    table = {name: over_seeds(runs) for name, runs in found.items() if runs}
    for name, rows in table.items():
        for policy, row in rows.items():
            cells = "  ".join(f"{key} {value['mean']:.3f} ± {value['deviation']:.3f}" for key, value in row.items())
            print(f"{name:14} {policy:12} {cells}")
    if options.json is not None:
        report = {"hardware": hardware(), "versions": versions(), "seeds": options.seeds, "algorithms": table}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=list(ALGORITHMS))
    parser.add_argument("--table", action="store_true", help="play nothing")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def started(folder: Path, seed: int) -> Path:
    """The seed's start, made where it is missing: three epochs of supervised fine-tuning, exported."""
    run, start = folder / f"seed-{seed}" / "sft", folder / f"seed-{seed}" / "start"
    if not start.exists():
        play(run, ["sft", f"seed={seed}", "iterations=1", "warmup=null", *START])
        sparring("export", run, start, "--policy", "iterations/000")
    return start


START = ("training.num_train_epochs=3", "training.learning_rate=1e-4")


def algorithm(name: str, start: Path, seed: int) -> list[str]:
    """The recipe and overrides of one run."""
    recipe, changes = ALGORITHMS[name]
    return [recipe, f"seed={seed}", f"model.name={start}", "warmup=null", f"iterations={ITERATIONS}", *changes]


def play(run: Path, arguments: list[str]) -> None:
    """Starts, continues or skips a run. None stops early: the table is about how it goes on."""
    directory = RunDirectory(run)
    if directory.result.exists():
        return
    if directory.manifest.exists():
        # What the run does with that consent, such as importing a judge's rule, this command asked for itself.
        sparring("resume", run, "--trust-remote-code")
    else:
        sparring("train", *arguments, f"output={run}", "stop.enabled=false")


def sparring(*arguments: object) -> None:
    """One command, in a process of its own, so that its memory ends with it."""
    subprocess.run([sys.executable, "-m", "sparring", *map(str, arguments)], check=True)


def read(run: Path) -> dict[str, dict[str, float]]:
    """Means over the held-out problems by policy, of the iterations that are finished."""
    directory = RunDirectory(run)
    stages = {"start": directory.base, **{f"iteration {n}": directory.iteration(n) for n in range(ITERATIONS)}}
    return {
        name: {key: value["mean"] for key, value in read_json(stage.evaluation).items() if key in COLUMNS}
        for name, stage in stages.items()
        if stage.evaluation.exists()
    }


def over_seeds(runs: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """Mean and standard deviation over seeds, by policy and column."""
    policies = [policy for policy in max(runs, key=len) if any(policy in run for run in runs)]
    return {
        policy: {
            key: spread([run[policy][key] for run in runs if key in run.get(policy, {})])
            for key in COLUMNS
            if any(key in run.get(policy, {}) for run in runs)
        }
        for policy in policies
    }


def spread(values: list[float]) -> dict[str, float]:
    """Mean, standard deviation over seeds (nan for one) and how many."""
    deviation = stdev(values) if len(values) > 1 else math.nan
    return {"mean": mean(values), "deviation": deviation, "n": len(values)}


if __name__ == "__main__":
    main()
