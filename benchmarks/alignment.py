"""Self-play with a judge, algorithm beside algorithm: arithmetic, its verifier, SmolLM2-135M, several seeds.

    python benchmarks/alignment.py FOLDER [--seeds 0 1 2] [--algorithms NAME …] [--json FILE] [--table]

For each seed: a start, SmolLM2 after supervised fine-tuning on demonstrations; then from that start every algorithm,
three iterations with K = 4 samples a prompt. The demonstrations, the problems that are played and those that are held
out have none in common: a start that knows the answers to what it plays leaves the judge little to say. Each is an
ordinary run in FOLDER, so the command can be stopped and started again: what is finished is not done twice. `--table`
only reads what is there.

Every algorithm of a seed has the same start, problems and seeds of sampling, so gains are paired: a problem's verdict
after the game minus its verdict before, over the problems of all seeds.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import problems
from measuring import hardware, versions
from sparring.data import TASKS, VERIFIERS, load
from sparring.files import read_json
from sparring.metrics import Estimate
from sparring.reports.samples import read_answers
from sparring.run_directory import RunDirectory
from sparring.selfplay.checks.consent import read_config
from sparring.shards import read_samples
from sparring.stage_directory import StageDirectory

# Recipe, and what makes the algorithm of it. The steps are alike: a decided preference asks for five nats. RSPO's leash
# is ten times the others', so that it shows: τ = λ/η = 0.1, where INPO has τ = 0.01 and Nash-MD α/η = 0.01.
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
START, LAST = "start", f"iteration {ITERATIONS - 1}"
COLUMNS = (
    "accuracy/training",
    "contested/training",
    "accuracy/greedy",
    "accuracy/sampled",
    "kl_to_base",
    "length/sampled",
    "self_bleu/corpus",
    "entropy/token",
    "win_rate/base",
    "log_likelihood/token",
)
KINDS = ("greedy", "sampled")
# How many problems: the held-out ones first, so that they are the same whatever the other numbers.
HELD_OUT, PLAYED, DEMONSTRATIONS = 64, 64, 192
SFT = ("training.num_train_epochs=1", "training.learning_rate=1e-4")
GAME = (
    "warmup=null",
    "lora={r: 16, lora_alpha: 32}",
    "training.learning_rate=5e-4",
    "training.lr_scheduler_type=linear",
    "training.num_train_epochs=2",
    "training.per_device_train_batch_size=2",
)


def main() -> None:
    """Plays what is missing, then prints and stores the table."""
    options = arguments()
    folder: Path = options.folder.absolute()
    if not options.table:
        for seed in options.seeds:
            place = word_problems(folder, seed)
            for name in options.algorithms:
                play(folder / f"seed-{seed}" / name, algorithm(name, place, seed))
    runs = {
        name: row
        for name in options.algorithms
        if (row := {seed: run for seed in options.seeds if (run := folder / f"seed-{seed}" / name).exists()})
    }
    report = {
        "hardware": hardware(),
        "versions": versions("peft"),
        "game": GAME,
        "seeds": {name: list(row) for name, row in runs.items()},
        "algorithms": {name: over_seeds(list(map(read, row.values()))) for name, row in runs.items()},
        "gains": {name: gains(list(row.values())) for name, row in runs.items()},
        "gains_over_sppo": {name: rivalry(row, runs.get("sppo", {})) for name, row in runs.items()},
        "seconds": {name: seconds(list(row.values())) for name, row in runs.items()},
    }
    show(report)
    if options.json is not None:
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


def word_problems(folder: Path, seed: int) -> tuple[str, ...]:
    """What to play, as overrides of a recipe: the seed's problems, and its start, made where it is missing."""
    made = TASKS["arithmetic"].generate(HELD_OUT + PLAYED + DEMONSTRATIONS, 1, seed)
    rows = [(example.prompt, example.response or "") for example in made]
    parts = {"held_out": rows[:HELD_OUT], "played": rows[HELD_OUT:][:PLAYED], "demonstrations": rows[-DEMONSTRATIONS:]}
    paths = problems.write(folder / f"seed-{seed}", parts)
    data = {
        name: problems.overrides(paths[name], paths["held_out"], count=HELD_OUT, max_response_tokens=32)
        for name in ("demonstrations", "played")
    }
    return (f"model.name={started(folder, seed, (*data['demonstrations'], *SFT))}", *data["played"])


def started(folder: Path, seed: int, settings: Sequence[str]) -> Path:
    """The seed's start, made where it is missing: supervised fine-tuning, exported."""
    run, start = folder / f"seed-{seed}" / "sft", folder / f"seed-{seed}" / "start"
    if not start.exists():
        play(run, ["sft", f"seed={seed}", "iterations=1", "warmup=null", *settings])
        sparring("export", run, start, "--policy", "iterations/000")
    return start


def algorithm(name: str, place: Sequence[str], seed: int) -> list[str]:
    """The recipe and overrides of one run."""
    recipe, changes = ALGORITHMS[name]
    return [recipe, f"seed={seed}", f"iterations={ITERATIONS}", *place, *GAME, *changes]


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


def stages(run: Path) -> dict[str, StageDirectory]:
    """The policies of a run that are measured, in the order in which they were made."""
    directory = RunDirectory(run)
    every = {START: directory.base, **{f"iteration {n}": directory.iteration(n) for n in range(ITERATIONS)}}
    return {name: stage for name, stage in every.items() if stage.evaluation.exists()}


def read(run: Path) -> dict[str, dict[str, float]]:
    """Means over the held-out problems, and over those that are played, by policy."""
    return {
        name: {key: value["mean"] for key, value in read_json(stage.evaluation).items() if key in COLUMNS}
        | on_training(RunDirectory(run), policy)
        for policy, (name, stage) in enumerate(stages(run).items())
    }


def on_training(directory: RunDirectory, policy: int) -> dict[str, float]:
    """How many of the samples to play with were right, and on how many prompts some were and some were not.

    They are the policy's; Nash-MD's are of its mixture with the start. After the last iteration there are none.
    """
    shards = sorted(directory.iteration(policy).samples.glob(f"*-{policy}-*.parquet"))
    if not shards:
        return {}
    config = read_config(directory, trust_remote_code=False)
    experts = {example.index: example.response or "" for example in load(config.data, config.seed).train}
    right = VERIFIERS[config.data.verifier or ""]()
    shares = [mean(right(row["text"], experts[n]) for row in rows) for n, rows in read_samples(shards).items()]
    return {"accuracy/training": mean(shares), "contested/training": mean(0 < share < 1 for share in shares)}


def gains(runs: Sequence[Path]) -> dict[str, dict[str, float]]:
    """What finished runs gained over their starts: the mean over all their held-out problems, and its error."""
    finished = [run for run in runs if LAST in stages(run)]
    return {kind: paired([(run, LAST) for run in finished], [(run, START) for run in finished], kind) for kind in KINDS}


def rivalry(runs: Mapping[int, Path], rivals: Mapping[int, Path]) -> dict[str, dict[str, float]]:
    """Where they end beside where a rival's runs of the same seeds end, likewise."""
    both = [s for s in runs if s in rivals and all(LAST in stages(each[s]) for each in (runs, rivals))]
    return {kind: paired([(runs[s], LAST) for s in both], [(rivals[s], LAST) for s in both], kind) for kind in KINDS}


def paired(left: Sequence[tuple[Path, str]], right: Sequence[tuple[Path, str]], kind: str) -> dict[str, float]:
    """The mean difference in right answers, left minus right, problem by problem; nothing where there is no run."""
    differences: list[float] = []
    for one, other in zip(left, right, strict=True):
        mine, theirs = verdicts(*one, kind), verdicts(*other, kind)
        differences += [mine[index] - theirs[index] for index in mine]
    return Estimate.of(differences).to_json() if differences else {}


def verdicts(run: Path, policy: str, kind: str) -> dict[int, float]:
    """The share of a policy's held-out answers that are right, by problem."""
    answers = read_answers([(policy, stages(run)[policy])])
    return {} if answers is None else {n: mean(right) for n, right in answers.values(0, kind, "right").items()}


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
    return {
        policy: {
            key: spread([run[policy][key] for run in runs if key in run.get(policy, {})])
            for key in COLUMNS
            if any(key in run.get(policy, {}) for run in runs)
        }
        for policy in max(runs, key=len)
    }


def spread(values: list[float]) -> dict[str, float]:
    """Mean, standard deviation over seeds (nan for one) and how many."""
    deviation = stdev(values) if len(values) > 1 else math.nan
    return {"mean": mean(values), "deviation": deviation, "n": len(values)}


def show(report: Mapping[str, Any]) -> None:
    """Prints the table."""
    for name, rows in report["algorithms"].items():
        for policy, row in rows.items():
            cells = "  ".join(f"{key} {value['mean']:.3f} ± {value['deviation']:.3f}" for key, value in row.items())
            print(f"{name:14} {policy:12} {cells}")
    for what in ("gains", "gains_over_sppo"):
        for name, row in report[what].items():
            differences = [
                f"{kind} {v['mean']:+.3f} ± {v['standard_error']:.3f} ({v['n']})" for kind, v in row.items() if v
            ]
            print(f"{name:14} {what}: {'  '.join(differences)}")
    for name, times in report["seconds"].items():
        print(f"{name:14} seconds an iteration: {', '.join(f'{stage} {s:.0f}' for stage, s in times.items())}")


if __name__ == "__main__":
    main()
