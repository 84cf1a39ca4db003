"""What verdicts are worth by how they are used: imitation of the right answers, or a game against the own samples.

    python studies/verdicts.py FOLDER [--seeds 0 1 2] [--at-once 2] [--table]

The ground is a model that adds (benchmarks/sums.py), half trained. From it every method plays three iterations of four
epochs on the same 256 sums, four samples of each. None but supervised fine-tuning sees an expert's response; the others
are told by a verifier which samples are right. Each has the best of four learning rates, by the answers to the held-out
sums of seed 9, which is not reported. Then two of them play by judges that know no right answer, and some by verifiers
that err (erring.py), these with the best of three rates by each; whether a held-out answer is right is always told
without error.
"""

from __future__ import annotations

import os
import sys
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
ERRING = ("lenient", "strict")
"""The verifiers of erring.py."""
# None did best at the highest rate by the verifier that does not err.
_RATES_ERRING = RATES[:3]
PLAY_ERRING = ("RAFT", "SPPO, η 10", "RSPO, η 10, reverse KL 1", "DPO, β 1")
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
_MAJORITY = "judge={name: consensus, rule: final-number}"
# It learns to tell the experts' responses to the same sums from the samples.
_DISCRIMINATOR = "judge={name: discriminator}"
BY_JUDGES: dict[str, tuple[str, ...]] = {
    "RAFT, majority of four": ("objective={name: raft}", _MAJORITY),
    "SPPO, η 10, majority of four": ("objective={name: sppo, eta: 10}", _MAJORITY),
    "RAFT, discriminator": ("objective={name: raft}", _DISCRIMINATOR),
    "SPPO, η 10, discriminator": ("objective={name: sppo, eta: 10}", _DISCRIMINATOR),
}
"""The methods that play without a right answer."""
_ALL = METHODS | BY_JUDGES
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
        # Where the rules that err are found, by this process's children.
        os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *sys.path[1:]])
    for verifier in (None, *ERRING):
        played(section_of("trials", verifier), trials(folder, verifier), _tried)
        played(section_of("runs", verifier), plays(folder, chosen.seeds, verifier), _measured)


def section_of(kind: str, verifier: str | None) -> str:
    """Where the results have what was played by a verifier: one of `ERRING`, or None for the one that does not err."""
    return kind if verifier is None else f"{kind}, {verifier}"


def trials(folder: Path, verifier: str | None = None) -> dict[str, dict[str, Play]]:
    """The runs that choose learning rates, by rate and method."""
    rates, methods = (RATES, tuple(_ALL)) if verifier is None else (_RATES_ERRING, PLAY_ERRING)
    return {
        f"{rate:g}": {method: _play(folder, method, TUNING_SEED, f"{rate:g}", verifier) for method in methods}
        for rate in rates
    }


def plays(folder: Path, seeds: Iterable[int], verifier: str | None = None) -> dict[str, dict[str, Play]]:
    """The runs that are reported, by seed and method, each at its method's learning rate by that verifier."""
    tried = results_of("verdicts")[section_of("trials", verifier)]
    chosen = {method: best_rate(of_rate) for method, of_rate in tried.items()}
    return {
        str(seed): {method: _play(folder, method, seed, rate, verifier) for method, rate in chosen.items()}
        for seed in seeds
    }


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


def _play(folder: Path, method: str, seed: int, rate: str, verifier: str | None) -> Play:
    place, errs = folder / f"seed-{seed}", () if verifier is None else (f"judge.rule=erring:{verifier}",)
    steps = ("generation.samples_per_prompt=4", "evaluation.samples_per_prompt=4", f"training.learning_rate={rate}")
    arguments = ("spin", *on_sums(place, seed, ITERATIONS), *steps, *_ALL[method], *errs)
    name = "-".join((method.replace(",", "").replace(" ", "-"), rate, *((verifier,) if verifier else ())))
    return Play(run=place / name, arguments=arguments)


if __name__ == "__main__":
    main()
