"""What verdicts are worth by how they are used: imitation of the right answers, or a game against the own samples.

    python studies/verdicts.py FOLDER [--seeds 0 1 2] [--at-once 2] [--table]

The ground is a model that adds (benchmarks/sums.py), half trained. From it every method plays three iterations of four
epochs on the same 256 sums, four samples of each. None but supervised fine-tuning sees an expert's response; the others
are told by a verifier which samples are right. Each has the best of four learning rates, by the answers to the held-out
sums of seed 9, which is not reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from grounds import on_sums, start_on_sums
from outcomes import RESULTS, Outcome, add, results_of
from playing import Play, of_ended, options, play_all

ITERATIONS, START_EPOCHS, TUNING_SEED = 3, 15, 9
RATES = (3e-5, 1e-4, 3e-4, 1e-3)
_VERIFIER = "judge={name: verifier, rule: final-number}"
# Of a game twice: as far as it goes by its papers' settings, and a fifth or a tenth of that.
METHODS: dict[str, tuple[str, ...]] = {
    "SFT, with experts": ("objective={name: sft}",),
    "RAFT": ("objective={name: raft}", _VERIFIER),
    "SPPO, η 2": ("objective={name: sppo, eta: 2}", _VERIFIER),
    "SPPO, η 10": ("objective={name: sppo, eta: 10}", _VERIFIER),
    "RSPO, η 10, reverse KL 1": (
        "objective={name: sppo, eta: 10}",
        "regularizers=[{name: reverse-kl, weight: 1}]",
        _VERIFIER,
    ),
    "DPO, β 1": ("objective={name: dpo, beta: 1}", _VERIFIER),
    "DPO, β 0.1": ("objective={name: dpo, beta: 0.1}", _VERIFIER),
    "iterative RPO, β 0.1": (
        "objective={name: dpo, beta: 0.1}",
        "regularizers=[{name: raft, weight: 1, length_normalized: true}]",
        _VERIFIER,
    ),
    "SPPO, η 10, RAFT 1": (
        "objective={name: sppo, eta: 10}",
        "regularizers=[{name: raft, weight: 1}]",
        _VERIFIER,
    ),
}
_MEASURES = ("greedy", "sampled")


def main() -> None:
    """Plays what is missing, then adds it to the results."""
    chosen = options(__doc__)
    folder: Path = chosen.folder.absolute() / "verdicts"

    def played(section: str, cases: Mapping[str, Mapping[str, Play]], measured: Callable[[str, Path], Any]) -> None:
        def take_in() -> None:
            add(RESULTS / "verdicts.json", section, of_ended(cases, measured))

        if not chosen.table:
            missing = [play for of_key in cases.values() for play in of_key.values()]
            play_all(missing, at_once=chosen.at_once, after_each=take_in)
        take_in()

    if not chosen.table:
        for seed in (TUNING_SEED, *chosen.seeds):
            start_on_sums(folder / f"seed-{seed}", seed, epochs=START_EPOCHS)
    played("trials", trials(folder), _tried)
    played("runs", plays(folder, chosen.seeds), _measured)


def trials(folder: Path) -> dict[str, dict[str, Play]]:
    """The runs that choose learning rates, by rate and method."""
    return {
        f"{rate:g}": {method: _play(folder, method, TUNING_SEED, f"{rate:g}") for method in METHODS} for rate in RATES
    }


def plays(folder: Path, seeds: Iterable[int]) -> dict[str, dict[str, Play]]:
    """The runs that are reported, by seed and method, each at its method's learning rate."""
    chosen = {method: best_rate(of_rate) for method, of_rate in results_of("verdicts")["trials"].items()}
    return {str(seed): {method: _play(folder, method, seed, rate) for method, rate in chosen.items()} for seed in seeds}


def best_rate(tried: Mapping[str, Mapping[str, float]]) -> str:
    """The learning rate after whose last iteration most answers are right, greedy or sampled; the higher of equals."""
    return max(tried, key=lambda rate: (round(sum(tried[rate].values()), 6), float(rate)))


def _tried(_: str, run: Path) -> dict[str, float]:
    """The shares of greedy and of sampled answers that are right after a run's last iteration."""
    return {measure: mean(Outcome.of(run).problems[-1][measure]) for measure in _MEASURES}


def _measured(_: str, run: Path) -> dict[str, Any]:
    """The same shares after every policy, the last policy's sum by sum, and its drift, nats."""
    outcome = Outcome.of(run)
    shares = {measure: [mean(policy[measure]) for policy in outcome.problems] for measure in _MEASURES}
    last = {measure: outcome.problems[-1][measure] for measure in _MEASURES}
    return shares | {"last": last, "kl_to_base": outcome.overall[-1]["kl_to_base"]}


def _play(folder: Path, method: str, seed: int, rate: str) -> Play:
    place = folder / f"seed-{seed}"
    steps = ("generation.samples_per_prompt=4", "evaluation.samples_per_prompt=4", f"training.learning_rate={rate}")
    arguments = ("spin", *on_sums(place, seed, ITERATIONS), *steps, *METHODS[method])
    return Play(run=place / f"{method.replace(',', '').replace(' ', '-')}-{rate}", arguments=arguments)


if __name__ == "__main__":
    main()
