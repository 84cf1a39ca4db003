"""Why self-play forgets what a start knew, what tells so beforehand, and what prevents it.

    python studies/collapse.py FOLDER [--seeds 0 1 2] [--at-once 2] [--table]

The ground is a model that adds (benchmarks/sums.py), trained from nothing until it is right on most sums: nearly all
that it generates is what the expert wrote, so an iteration can spoil much and mend little. Every case plays three
iterations from it. What could have told of the collapse after the first iteration (the step exponent, the learning
rate, each check of the stability monitor, the drift) is ranked against what was lost by the third.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

from grounds import on_sums, start_on_sums
from outcomes import RESULTS, Outcome, add
from playing import Play, of_ended, options, play_all
from sparring.files import read_json
from sparring.objectives import OBJECTIVES
from sparring.run_directory import RunDirectory

ITERATIONS = 3
RATES = (1e-4, 3e-4, 1e-3)
OBJECTIVES_PLAYED: dict[str, dict[str, float]] = {
    "spin β 0.1": {"beta": 0.1},
    "spin β 1": {"beta": 1.0},
    "spin β 2": {"beta": 2.0},
    "spif": {"beta": 1.0, "reward_bound": 2.0},
    "space": {"beta": 1.0},
    "sft": {},
}
# Changes to `spin` with β = 1 at the two larger rates; plain gradient steps are as long as Adam's first ones here.
CURES = {
    "K = 4": ("generation.samples_per_prompt=4",),
    "SFT anchor 0.3": ("regularizers=[{name: sft, weight: 0.3}]",),
    "SGD": ("training.optim=sgd", "training.max_grad_norm=1.0"),
    "larger batch": ("training.per_device_train_batch_size=128",),
}
SGD_RATES = {3e-4: 0.03, 1e-3: 0.1}


def main() -> None:
    """Plays what is missing, then adds it to the results."""
    chosen = options(__doc__)
    folder: Path = chosen.folder.absolute() / "collapse"
    cases = {seed: plays(folder / f"seed-{seed}", seed) for seed in chosen.seeds}
    if not chosen.table:
        for seed in chosen.seeds:
            start_on_sums(folder / f"seed-{seed}", seed)
        play_all([play for of_seed in cases.values() for play in of_seed.values()], at_once=chosen.at_once)
    add(RESULTS / "collapse.json", "cases", of_ended(cases, measured))


def plays(place: Path, seed: int) -> dict[str, Play]:
    """The runs of a seed, each by its name: the objective or the cure, and the rate."""
    common = on_sums(place, seed, ITERATIONS)
    cases: dict[str, Play] = {}
    for (title, settings), rate in product(OBJECTIVES_PLAYED.items(), RATES):
        name = title.split()[0]
        objective = ", ".join([f"name: {name}", *(f"{key}: {value}" for key, value in settings.items())])
        arguments = ("spin", *common, f"objective={{{objective}}}", f"training.learning_rate={rate}")
        cases[f"{title}, {rate:g}"] = Play(run=place / f"{title.replace(' ', '-')}-{rate:g}", arguments=arguments)
    for (title, changes), rate in product(CURES.items(), SGD_RATES):
        step = SGD_RATES[rate] if title == "SGD" else rate
        arguments = (
            "spin",
            *common,
            "objective={name: spin, beta: 1.0}",
            f"training.learning_rate={step}",
        )
        run = place / f"cure-{title.replace(' ', '-').replace('=', 'is')}-{rate:g}"
        cases[f"spin β 1 with {title}, {rate:g}"] = Play(run=run, arguments=(*arguments, *changes))
    return cases


def measured(name: str, run: Path) -> dict[str, Any]:
    """What a case kept of the start's right answers, and the signs of what it would."""
    outcome = Outcome.of(run)
    drift = {"kl_to_base": [policy["kl_to_base"] for policy in outcome.overall]}
    return outcome.means() | drift | {"signs": signs_of(name, run, outcome)}


def signs_of(name: str, run: Path, outcome: Outcome) -> dict[str, float]:
    """What is known before play, and what the first iteration showed, each a number of which more should be worse."""
    title, _, rate = name.rpartition(", ")
    signs = {
        "learning rate": float(rate),
        "drift after the first iteration (KL)": outcome.overall[1]["kl_to_base"],
        "likelihood lost in the first iteration": mean(outcome.problems[0]["likelihood"])
        - mean(outcome.problems[1]["likelihood"]),
        "greedy answers lost in the first iteration": mean(outcome.problems[0]["greedy"])
        - mean(outcome.problems[1]["greedy"]),
    }
    settings = OBJECTIVES_PLAYED.get(title)
    stability = None if settings is None else OBJECTIVES[title.split()[0]](**settings).stability
    if stability is not None:
        signs["step exponent"] = stability.step_exponent
    for finding in findings(run):
        if finding["iteration"] == 0:
            signs[f"check {finding['check']}"] = finding["value"]
    return signs


def findings(run: Path) -> Sequence[Mapping[str, Any]]:
    """What the stability monitor found."""
    found: Sequence[Mapping[str, Any]] = read_json(RunDirectory(run).stability)["findings"]
    return found


if __name__ == "__main__":
    main()
