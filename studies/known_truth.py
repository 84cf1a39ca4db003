"""The true divergence from the expert, by method and iteration, beside what an objective estimates of it.

    python studies/known_truth.py FOLDER [--seeds 0 1] [--at-once 2] [--table]

The expert is a language model, so the probability of everything that it may say is known: a model that adds, trained
for 20 epochs. The policy that plays is the same one after 8.
"""

from __future__ import annotations

from pathlib import Path

from grounds import on_sums, start_on_sums
from outcomes import RESULTS, add
from playing import Play, of_ended, options, play_all
from sparring.files import read_json
from sparring.run_directory import RunDirectory

ITERATIONS, RATE = 4, 3e-4
METHODS: dict[str, tuple[str, ...]] = {
    "sft": ("objective={name: sft}",),
    "dft": ("objective={name: dft}",),
    "spif": ("objective={name: spif, beta: 1, reward_bound: 2}",),
    "spin β 1": ("objective={name: spin, beta: 1}",),
    "space": ("objective={name: space, beta: 1}",),
    "f-divergence": ("objective={name: f-divergence, beta: 1}",),
}
_KEPT = (
    "truth/forward_kl",
    "truth/reverse_kl",
    "truth/total_variation",
    "truth/divergence",
    "divergence_estimate",
)


def main() -> None:
    """Plays what is missing, then adds it to the results."""
    chosen = options(__doc__)
    folder: Path = chosen.folder.absolute() / "truth"
    cases: dict[int, dict[str, Play]] = {}
    for seed in chosen.seeds:
        place = folder / f"seed-{seed}"
        if not chosen.table:
            start_on_sums(place, seed, name="expert")
            start_on_sums(place, seed, epochs=8)
        cases[seed] = plays(place, seed)
    if not chosen.table:
        play_all([play for of_seed in cases.values() for play in of_seed.values()], at_once=chosen.at_once)
    add(RESULTS / "known_truth.json", "methods", of_ended(cases, measured))


def plays(place: Path, seed: int) -> dict[str, Play]:
    """The runs of a seed, each by its method."""
    teacher = ("data.verifier=null", f"data.teacher={{model: {place / 'expert'}}}", "evaluation.samples_per_prompt=4")
    common = (*on_sums(place, seed, ITERATIONS), *teacher, f"training.learning_rate={RATE}")
    return {
        method: Play(run=place / method.replace(" ", "-"), arguments=("spin", *common, *changes))
        for method, changes in METHODS.items()
    }


def measured(_: str, run: Path) -> list[dict[str, float]]:
    """The kept estimates of the policies of a run, from the one that it starts from."""
    directory = RunDirectory(run)
    stages = [directory.base, *map(directory.iteration, range(ITERATIONS))]
    return [
        {key: values[key]["mean"] for key in _KEPT if key in values}
        for values in (read_json(stage.evaluation) for stage in stages)
    ]


if __name__ == "__main__":
    main()
