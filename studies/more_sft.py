"""More supervised fine-tuning, or play? Every method from one start, on prompts with experts and on prompts without.

    python studies/more_sft.py FOLDER [--ground smollm2] [--contests NAME …] [--seeds 0 1 2] [--untuned] [--table]
    python studies/more_sft.py FOLDER --ground gsm8k --gsm8k FILE [the same]

The start is the best of three rounds of supervised fine-tuning on 64 problems, by held-out problems. From it every
method plays three iterations on these; and, where a judge says what is better, on 256 problems of which only these 64
have an expert's response, 64 an iteration. A contest is a method on the former, `spif`, or on the latter,
`sppo-verifier/others`. Its learning rate is the better of two, tried on seed 9, which is not reported; `--untuned`
takes that of earlier trials instead. Started again, the command goes on where it was stopped, also on another machine:
what studies/results/ has is not played again. `--table` plays nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from grounds import GROUNDS, LORA, Ground, ground
from measuring import hardware
from methods import METHODS, RATES
from outcomes import MEASURES, RESULTS, Outcome, read, write
from playing import Play, play_all

ITERATIONS = 3
TUNING_SEED, TUNING_ITERATIONS = 9, 2
CONTESTS = (*METHODS, *(f"{name}/others" for name, method in METHODS.items() if method.judged))


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """All runs on one ground.

    Attributes:
        ground: The ground.
        folder: The folder below which they are played.
        results: The file of what was measured. What is there already, of this machine or another, is not played again.
        tuned: Whether learning rates are tried, or those of earlier trials taken.
    """

    ground: Ground
    folder: Path
    results: Path
    tuned: bool

    def of_seed(self, seed: int) -> Path:
        """Where the problems, the start and the runs of a seed are."""
        return self.folder / f"seed-{seed}"

    def trials(self, contests: Iterable[str]) -> dict[tuple[str, float], Play]:
        """The runs that choose the learning rates of some contests, by contest and rate; of those not yet measured."""
        measured = self.measured()
        return {
            (contest, rate): self._play(f"rate-{rate:g}", contest, TUNING_SEED, rate, TUNING_ITERATIONS)
            for contest in contests
            for rate in RATES
            if self.tuned and f"{rate:g}" not in measured[contest]["trials"]
        }

    def plays(self, contests: Iterable[str], seeds: Sequence[int]) -> dict[tuple[str, int], Play]:
        """The runs that are reported of contests whose rate was chosen, by contest and seed; likewise.

        Seed after seed, so that a stop leaves whole comparisons.
        """
        measured = self.measured()
        rates = {contest: self.rate(contest) for contest in contests}
        return {
            (contest, seed): self._play("", contest, seed, rate, ITERATIONS)
            for seed in seeds
            for contest, rate in rates.items()
            if rate is not None and str(seed) not in measured[contest]["runs"]
        }

    def rate(self, contest: str) -> float | None:
        """The learning rate after which most answers are right, greedy or sampled; None before all were tried."""
        if not self.tuned:
            return METHODS[contest.partition("/")[0]].rate
        trials = self.measured()[contest]["trials"]
        return max(RATES, key=lambda rate: mean(trials[f"{rate:g}"])) if len(trials) == len(RATES) else None

    def measured(self) -> dict[str, Any]:
        """What was measured so far, by contest."""
        empty: dict[str, Any] = {contest: {"trials": {}, "runs": {}} for contest in CONTESTS}
        return empty | (read(self.results)["contests"] if self.results.exists() else {})

    def take_in(self, contests: Iterable[str], seeds: Sequence[int]) -> None:
        """Adds the runs that have ended to the results, and chooses the rates that can be chosen now."""
        contests = list(contests)
        measured = self.measured()
        for (contest, rate), play in self.trials(contests).items():
            if play.ended:
                measured[contest]["trials"][f"{rate:g}"] = _right(Outcome.of(play.run))
        self._write(measured)
        for (contest, seed), play in self.plays(contests, seeds).items():
            if play.ended:
                about = {"rate": self.rate(contest), "hardware": hardware()}
                measured[contest]["runs"][str(seed)] = about | Outcome.of(play.run).to_json()
        self._write(measured)

    def _write(self, measured: Mapping[str, Any]) -> None:
        tried = {contest: each for contest, each in measured.items() if each["trials"] or each["runs"]}
        write(self.results, {"measures": MEASURES, "contests": tried})

    def _play(self, below: str, contest: str, seed: int, rate: float, iterations: int) -> Play:
        method, _, prompts = contest.partition("/")
        data = self.ground.data(self.of_seed(seed), seed)[prompts or "experts"]
        few = ("data.prompts_per_iteration=64",) if prompts else ()
        start = f"model.name={self.of_seed(seed) / 'start'}"
        arguments = (*METHODS[method].arguments(rate, seed, iterations), start, *LORA, *data, *few)
        return Play(run=self.of_seed(seed) / below / contest.replace("/", "-"), arguments=arguments)


def main() -> None:
    """Plays what is missing, then writes the results."""
    options = arguments()
    campaign = Campaign(
        ground=ground(options.ground, options.gsm8k),
        folder=options.folder.absolute() / options.ground,
        results=RESULTS / f"more_sft_{options.ground}.json",
        tuned=not options.untuned,
    )

    def take_in() -> None:
        campaign.take_in(options.contests, options.seeds)

    if not options.table:
        places = {seed: campaign.of_seed(seed) for seed in (*([TUNING_SEED] * campaign.tuned), *options.seeds)}
        campaign.ground.starts(places, at_once=options.at_once)
        take_in()
        play_all([*campaign.trials(options.contests).values()], at_once=options.at_once, after_each=take_in)
        plays = campaign.plays(options.contests, options.seeds)
        play_all([*plays.values()], at_once=options.at_once, after_each=take_in)
    take_in()


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ground", choices=GROUNDS, default="smollm2")
    parser.add_argument("--gsm8k", type=Path, help="JSON lines with 'question' and 'answer', for the ground gsm8k")
    parser.add_argument("--contests", nargs="+", choices=CONTESTS, default=list(CONTESTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--untuned", action="store_true", help="take the learning rates of earlier trials")
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="play nothing")
    return parser.parse_args()


def _right(outcome: Outcome) -> list[float]:
    """The shares of greedy and of sampled answers that are right after the last iteration."""
    return [mean(outcome.problems[-1][measure]) for measure in ("greedy", "sampled")]


if __name__ == "__main__":
    main()
