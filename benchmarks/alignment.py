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
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from measuring import hardware, versions
from sparring.data import VERIFIERS, load
from sparring.files import read_json
from sparring.run_directory import RunDirectory
from sparring.training.consent import read_config
from sparring.training.stages.generate import read_samples

# Recipe, and what makes the algorithm of it. The steps are alike: a decided preference asks for five nats, and what
# holds the policy near the start has a tenth of that weight.
_STEP = "objective.eta=10"
ALGORITHMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "sppo": ("sppo", (_STEP,)),
    "rspo-reverse": ("rspo", (_STEP, "regularizers=[{name: reverse-kl, weight: 1}]")),
    "rspo-forward": ("rspo", (_STEP, "regularizers=[{name: forward-kl, weight: 1}]")),
    "rspo-both": (
        "rspo",
        (_STEP, "regularizers=[{name: reverse-kl, weight: 1}, {name: forward-kl, weight: 1}]"),
    ),
    "inpo": ("inpo", ("objective.eta=0.1", "objective.tau=0.01")),
    "nash-md": ("nash-md", (_STEP, "opponent.alpha=0.1")),
    "iterative-dpo": ("iterative-dpo", ("objective.beta=0.1",)),
}
ITERATIONS = 3
COLUMNS = (
    "accuracy/training",
    "accuracy/greedy",
    "accuracy/sampled",
    "kl_to_base",
    "length/sampled",
    "self_bleu/corpus",
    "entropy/token",
    "win_rate/base",
    "log_likelihood/token",
)


def main() -> None:
    """Plays what is missing, then prints and stores the table."""
    options = arguments()
    if not options.table:
        for seed in options.seeds:
            start = started(options.folder, seed, START)
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
    costs = {name: seconds([options.folder / f"seed-{seed}" / name for seed in options.seeds]) for name in table}
    for name, stages in costs.items():
        print(f"{name:14} seconds an iteration: {', '.join(f'{stage} {s:.0f}' for stage, s in stages.items())}")
    if options.json is not None:
        report = {
            "hardware": hardware(),
            "versions": versions("peft"),
            "seeds": options.seeds,
            "game": GAME,
            "algorithms": table,
            "seconds": costs,
        }
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


def started(folder: Path, seed: int, settings: Sequence[str]) -> Path:
    """The seed's start, made where it is missing: supervised fine-tuning, exported."""
    run, start = folder / f"seed-{seed}" / "sft", folder / f"seed-{seed}" / "start"
    if not start.exists():
        play(run, ["sft", f"seed={seed}", "iterations=1", "warmup=null", *settings])
        sparring("export", run, start, "--policy", "iterations/000")
    return start


# Short prompts, to save time.
DATA = ("data.chat_template=none",)
START = (*DATA, "training.num_train_epochs=3", "training.learning_rate=1e-4")
GAME = (
    *DATA,
    "warmup=null",
    "lora={r: 16, lora_alpha: 32}",
    "training.learning_rate=5e-4",
    "training.lr_scheduler_type=linear",
)


def algorithm(name: str, start: Path, seed: int) -> list[str]:
    """The recipe and overrides of one run."""
    recipe, changes = ALGORITHMS[name]
    return [recipe, f"seed={seed}", f"model.name={start}", f"iterations={ITERATIONS}", *GAME, *changes]


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
    """Means over the held-out problems, and over the training problems, by policy, of iterations that are finished."""
    directory = RunDirectory(run)
    stages = {"start": directory.base, **{f"iteration {n}": directory.iteration(n) for n in range(ITERATIONS)}}
    return {
        name: {key: value["mean"] for key, value in read_json(stage.evaluation).items() if key in COLUMNS}
        | on_training(directory, policy)
        for policy, (name, stage) in enumerate(stages.items())
        if stage.evaluation.exists()
    }


def on_training(directory: RunDirectory, policy: int) -> dict[str, float]:
    """How many of a policy's samples to play with were right; it drew none after the last iteration."""
    shards = sorted(directory.iteration(policy).samples.glob(f"policy-{policy}-*.parquet"))
    if not shards:
        return {}
    config = read_config(directory, trust_remote_code=False)
    experts = {example.index: example.response for example in load(config.data, config.seed).train}
    right = VERIFIERS[config.data.verifier]()
    answers = read_samples(shards)
    return {"accuracy/training": mean(right(row["text"], experts[n]) for n, rows in answers.items() for row in rows)}


def seconds(runs: list[Path]) -> dict[str, float]:
    """Median time of each stage of an iteration. The first is left out: its samples are those of another run."""
    taken: dict[str, list[float]] = {}
    for event in (event for run in runs for event in RunDirectory(run).events()):
        first = event.get("iteration") == 0 or event.get("policy") in {"base", "iterations/000"}
        if event.get("kind") == "time" and not first:
            taken.setdefault(event["stage"], []).append(event["seconds"])
    return {stage: median(values) for stage, values in taken.items()}


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
