"""What wrong experts do to every method, and what helps against them.

    python studies/noise.py FOLDER [--seeds 0 1] [--at-once 2] [--table]

The ground is a model that adds. A share of the experts' responses, the same ones in the warm start and in play, is
replaced by another sum; from the start that learnt from them every method plays three iterations on them. The experts
of the held-out problems are right.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from grounds import on_sums, start_on_sums
from outcomes import RESULTS, Outcome, add
from playing import Play, of_ended, options, play_all

ITERATIONS, RATE = 3, 3e-4
SHARES = (0.0, 0.25, 0.5)
# `consensus` never reads an expert; `dft` hardly reads a token that it finds unlikely.
METHODS: dict[str, tuple[str, ...]] = {
    "sft": ("objective={name: sft}",),
    "dft": ("objective={name: dft}",),
    "spif": ("objective={name: spif, beta: 1, reward_bound: 2}",),
    "spif R 1": ("objective={name: spif, beta: 1, reward_bound: 1}",),
    "spin": ("objective={name: spin, beta: 1}",),
    "sppo with consensus": (
        "objective={name: sppo, eta: 10}",
        "judge={name: consensus}",
        "generation.samples_per_prompt=8",
    ),
}


def main() -> None:
    """Plays what is missing, then adds it to the results."""
    chosen = options(__doc__)
    folder: Path = chosen.folder.absolute() / "noise"
    cases = {seed: plays(folder / f"seed-{seed}", seed, begin=not chosen.table) for seed in chosen.seeds}
    if not chosen.table:
        play_all([play for of_seed in cases.values() for play in of_seed.values()], at_once=chosen.at_once)
    add(RESULTS / "noise.json", "cases", of_ended(cases, measured))


def plays(place: Path, seed: int, *, begin: bool) -> dict[str, Play]:
    """The runs of a seed, each by its method and share of wrong experts."""
    cases: dict[str, Play] = {}
    for share in SHARES:
        below, common = place / f"wrong-{share:g}", on_sums(place, seed, ITERATIONS, name=f"start-{share:g}")
        below.mkdir(parents=True, exist_ok=True)
        source = f"data.source={spoiled(place / 'train.jsonl', below, share, seed)}"
        if begin:
            start_on_sums(place, seed, source, name=f"start-{share:g}")
        for method, changes in METHODS.items():
            arguments = ("spin", *common, source, f"training.learning_rate={RATE}", *changes)
            cases[f"{method}, {share:g}"] = Play(run=below / method.replace(" ", "-"), arguments=arguments)
    return cases


def spoiled(problems: Path, folder: Path, share: float, seed: int) -> Path:
    """The problems with so many of the responses replaced by another sum."""
    rows = [json.loads(line) for line in problems.read_text(encoding="utf-8").splitlines()]
    draw = random.Random(f"wrong/{seed}")
    for row in draw.sample(rows, round(share * len(rows))):
        row["response"] = str(draw.choice([n for n in range(109) if n != int(row["response"])]))
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def measured(_: str, run: Path) -> dict[str, list[float]]:
    """What a case had right before and after play."""
    return Outcome.of(run).means()


if __name__ == "__main__":
    main()
