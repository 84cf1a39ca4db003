"""More supervised fine-tuning, or play? Every method from one start, on prompts with experts and on prompts without.

    python studies/more_sft.py FOLDER [--ground smollm2] [--contests NAME …] [--seeds 0 1 2] [--at-once 2] [--table]

The start is the policy of the epoch of supervised fine-tuning that held-out likelihood chose. From it every method
plays three iterations: on the 64 problems that the start was trained on, with their experts; and, where a judge says
what is better, on 192 others, 64 an iteration, without experts, which supervised fine-tuning cannot use. A contest is
a method on either of them, `spif` or `sppo-verifier/others`. Its learning rate is the better of two, tried on seed 9,
which is not reported. Started again, the command goes on where it was stopped; `--table` plays nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from grounds import GROUNDS, LORA, Ground
from measuring import hardware, versions
from methods import METHODS, RATES
from outcomes import MEASURES, Outcome, write
from playing import Play, play_all

ITERATIONS = 3
TUNING_SEED, TUNING_ITERATIONS = 9, 2
RESULTS = Path(__file__).resolve().parent / "results"
CONTESTS = (*METHODS, *(f"{name}/others" for name, method in METHODS.items() if method.judged))


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """All runs on one ground, below one folder."""

    ground: Ground
    folder: Path

    def of_seed(self, seed: int) -> Path:
        """Where the problems, the start and the runs of a seed are."""
        return self.folder / f"seed-{seed}"

    def trials(self, contest: str) -> dict[float, Play]:
        """The runs that choose the learning rate of a contest."""
        places = {rate: self.of_seed(TUNING_SEED) / f"rate-{rate:g}" for rate in RATES}
        return {
            rate: self._play(place, contest, TUNING_SEED, rate, TUNING_ITERATIONS) for rate, place in places.items()
        }

    def rate(self, contest: str) -> float | None:
        """The learning rate after which most answers are right, greedy and sampled alike; None before it was tried."""
        trials = self.trials(contest)
        if not all(trial.ended for trial in trials.values()):
            return None
        return max(trials, key=lambda rate: mean(_right(Outcome.of(trials[rate].run))))

    def play(self, contest: str, seed: int) -> Play | None:
        """The run that is reported of a contest; None before its learning rate was chosen."""
        rate = self.rate(contest)
        return None if rate is None else self._play(self.of_seed(seed), contest, seed, rate, ITERATIONS)

    def _play(self, place: Path, contest: str, seed: int, rate: float, iterations: int) -> Play:
        method, _, prompts = contest.partition("/")
        data = self.ground.data(self.of_seed(seed), seed)[prompts or "experts"]
        few = ("data.prompts_per_iteration=64",) if prompts else ()
        start = f"model.name={self.of_seed(seed) / 'start'}"
        arguments = (*METHODS[method].arguments(rate, seed, iterations), start, *LORA, *data, *few)
        return Play(run=place / contest.replace("/", "-"), arguments=arguments)


def main() -> None:
    """Plays what is missing, then writes the results."""
    options = arguments()
    campaign = Campaign(ground=GROUNDS[options.ground], folder=options.folder.absolute() / options.ground)
    if not options.table:
        places = {seed: campaign.of_seed(seed) for seed in (TUNING_SEED, *options.seeds)}
        campaign.ground.starts(places, at_once=options.at_once)
        trials = [trial for contest in options.contests for trial in campaign.trials(contest).values()]
        play_all(trials, at_once=options.at_once)
        # Seed after seed, so that a stop leaves whole comparisons.
        plays = [campaign.play(contest, seed) for seed in options.seeds for contest in options.contests]
        play_all([play for play in plays if play is not None], at_once=options.at_once)
    write(RESULTS / f"more_sft_{options.ground}.json", results(campaign, options.seeds))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ground", choices=GROUNDS, default="smollm2")
    parser.add_argument("--contests", nargs="+", choices=CONTESTS, default=list(CONTESTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="play nothing")
    return parser.parse_args()


def results(campaign: Campaign, seeds: Sequence[int]) -> dict[str, Any]:
    """What was measured of every run that ended, and the trials behind its learning rate."""
    contests: dict[str, Any] = {}
    for contest in CONTESTS:
        trials = {f"{rate:g}": _right(Outcome.of(t.run)) for rate, t in campaign.trials(contest).items() if t.ended}
        plays = {seed: play for seed in seeds if (play := campaign.play(contest, seed)) is not None and play.ended}
        if trials:
            runs = {str(seed): Outcome.of(play.run).to_json() for seed, play in plays.items()}
            contests[contest] = {"rate": campaign.rate(contest), "trials": trials, "runs": runs}
    return {"hardware": hardware(), "versions": versions("peft"), "measures": MEASURES, "contests": contests}


def _right(outcome: Outcome) -> list[float]:
    """The shares of greedy and of sampled answers that are right after the last iteration."""
    return [mean(outcome.problems[-1][measure]) for measure in ("greedy", "sampled")]


if __name__ == "__main__":
    main()
