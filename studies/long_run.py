"""What thirty iterations do: answers, drift, diversity and memory, by method.

    python studies/long_run.py FOLDER [--seeds 0] [--at-once 2] [--table]

The ground is a model that adds (benchmarks/sums.py), as in the collapse study and from the same start. Every method
plays at the rate that was best for it there after three iterations; SPIN also at the one that was best for SPIF.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from grounds import on_sums, start_on_sums
from outcomes import RESULTS, Outcome, add
from playing import Play, of_ended, options, play_all
from sparring.files import read_json
from sparring.run_directory import RunDirectory

ITERATIONS = 30
METHODS: dict[str, tuple[float, tuple[str, ...]]] = {
    "sft": (1e-4, ("objective={name: sft}",)),
    "spif": (3e-4, ("objective={name: spif, beta: 1, reward_bound: 2}",)),
    "space": (1e-4, ("objective={name: space, beta: 1}",)),
    "spin β 1": (1e-4, ("objective={name: spin, beta: 1}",)),
    "spin β 1, fictitious play": (1e-4, ("objective={name: spin, beta: 1}", "opponent={name: fictitious-play}")),
    "spin β 1, SFT anchor 0.3": (
        3e-4,
        ("objective={name: spin, beta: 1}", "regularizers=[{name: sft, weight: 0.3}]"),
    ),
}
_KEPT = ("kl_to_base", "entropy/token", "self_bleu/corpus")


def main() -> None:
    """Plays what is missing, then adds it to the results."""
    chosen = options(__doc__)
    folder: Path = chosen.folder.absolute() / "collapse"
    cases = {seed: plays(folder / f"seed-{seed}", seed) for seed in chosen.seeds}

    def take_in() -> None:
        add(RESULTS / "long_run.json", "methods", of_ended(cases, measured))

    if not chosen.table:
        for seed in chosen.seeds:
            start_on_sums(folder / f"seed-{seed}", seed)
        missing = [play for of_seed in cases.values() for play in of_seed.values()]
        play_all(missing, at_once=chosen.at_once, after_each=take_in)
    take_in()


def plays(place: Path, seed: int) -> dict[str, Play]:
    """The runs of a seed, each by its method."""
    common = on_sums(place, seed, ITERATIONS)
    return {
        method: Play(
            run=place / f"long-{method.replace(',', '').replace(' ', '-')}",
            arguments=("spin", *common, f"training.learning_rate={rate}", *changes),
        )
        for method, (rate, changes) in METHODS.items()
    }


def measured(_: str, run: Path) -> dict[str, Any]:
    """The means of each policy over the reported problems, the run's peak of memory, GiB, and its size, MiB."""
    outcome = Outcome.of(run)
    behaviour = {name: [policy[name] for policy in outcome.overall] for name in _KEPT}
    size = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    memory = read_json(RunDirectory(run).result)["peak_memory_gib"]
    return outcome.means() | behaviour | {"memory_gib": memory, "disk_mib": size / 2**20}


if __name__ == "__main__":
    main()
