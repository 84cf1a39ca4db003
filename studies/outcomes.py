"""What a run was measured at: each held-out problem under each policy, and what the policies cost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import mean
from typing import Any, Self

import benchmarks_path  # noqa: F401 - the next one is found by it
from measuring import hardware, versions
from sparring.files import read_json
from sparring.json_text import numbers, to_json
from sparring.metrics import Estimate
from sparring.reports.cost import seconds_by_stage
from sparring.reports.samples import read_answers
from sparring.run_directory import RunDirectory
from sparring.stage_directory import StageDirectory

MEASURES = ("greedy", "sampled", "likelihood")
"""Of a problem: whether the greedy answer is right, the share of sampled ones that are, the log-prob of a token of the
expert's response, nats."""

RESULTS = Path(__file__).resolve().parent / "results"

CHOOSING, REPORTED = 32, 128
"""The numbers of held-out problems that choose, the first ones, and of those that are reported."""

_ABOUT = ("hardware", "versions")
_OVERALL = ("kl_to_base", "entropy/token", "length/sampled", "self_bleu/corpus")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A run's policies, from the one that it starts from to the last.

    Attributes:
        problems: For each policy, the values of every measure, a problem an entry, those that choose first.
        overall: For each policy, the means over all held-out problems that need no pairing.
        seconds: Seconds by stage, over the whole run.
    """

    problems: list[dict[str, list[float]]]
    overall: list[dict[str, float]]
    seconds: dict[str, float]

    @classmethod
    def of(cls, run: Path) -> Self:
        """Reads a run that was played."""
        directory = RunDirectory(run)
        stages = [directory.base, *(directory.iteration(number) for number in range(_iterations(directory)))]
        seconds: dict[str, float] = {}
        for stages_of_owner in seconds_by_stage(directory.events()).values():
            for stage, value in stages_of_owner.items():
                seconds[stage] = seconds.get(stage, 0.0) + value
        return cls(
            problems=[problems_of(stage) for stage in stages],
            overall=[_overall(stage) for stage in stages],
            seconds=seconds,
        )

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """An outcome as `to_json` wrote it."""
        return cls(**{field.name: values[field.name] for field in fields(cls)})

    def to_json(self) -> dict[str, Any]:
        """The outcome as plain numbers."""
        values = asdict(self)
        values["problems"] = [
            {measure: [round(value, 5) for value in row] for measure, row in policy.items()} for policy in self.problems
        ]
        return values

    def likeliest(self, first: int) -> int:
        """The policy, from the `first`, that finds the experts' responses to the choosing problems likeliest."""
        return max(range(first, len(self.problems)), key=lambda policy: self._chosen_by(policy, "likelihood"))

    def best(self) -> int:
        """The policy of whose answers to the choosing problems most are right, greedy or sampled.

        Of equally good ones, the one that finds the experts' responses likeliest.
        """

        def worth(policy: int) -> tuple[float, float]:
            greedy, sampled, likelihood = (self._chosen_by(policy, name) for name in MEASURES)
            return greedy + sampled, likelihood

        return max(range(len(self.problems)), key=worth)

    def _chosen_by(self, policy: int, measure: str) -> float:
        return mean(self.problems[policy][measure][:CHOOSING])

    def reported(self, policy: int, measure: str) -> list[float]:
        """A measure of a policy on the problems that are reported."""
        return self.problems[policy][measure][CHOOSING:]

    def means(self) -> dict[str, list[float]]:
        """The mean of each measure on the problems that are reported, a policy an entry."""
        policies = range(len(self.problems))
        return {measure: [mean(self.reported(policy, measure)) for policy in policies] for measure in MEASURES}


def paired(left: Sequence[Sequence[float]], right: Sequence[Sequence[float]]) -> Estimate:
    """The mean of left minus right, problem by problem over all runs, and its standard error."""
    return Estimate.of([a - b for one, other in zip(left, right, strict=True) for a, b in zip(one, other, strict=True)])


def _iterations(directory: RunDirectory) -> int:
    played = [stage for stage in directory.stages() if stage.path.parent.name == "iterations"]
    return sum(stage.evaluation.exists() for stage in played)


def problems_of(stage: StageDirectory) -> dict[str, list[float]]:
    """Every measure of the policy of a stage, a held-out problem an entry."""
    answers = read_answers([("policy", stage)])
    if answers is None:
        return {}
    greedy, sampled = (answers.values(0, kind, "right") for kind in ("greedy", "sampled"))
    log_probs, ends = (answers.values(0, "expert", column) for column in ("log_prob", "ends"))
    return {
        "greedy": [mean(map(float, greedy[index])) for index in sorted(greedy)],
        "sampled": [mean(map(float, sampled[index])) for index in sorted(sampled)],
        "likelihood": [log_probs[index][0] / len(ends[index][0]) for index in sorted(log_probs)],
    }


def _overall(stage: StageDirectory) -> dict[str, float]:
    values = read_json(stage.evaluation)
    return {name: values[name]["mean"] for name in _OVERALL if name in values}


def read(path: Path) -> dict[str, Any]:
    """A study's results, as `write` wrote them."""
    values: dict[str, Any] = numbers(json.loads(path.read_text(encoding="utf-8")))
    return values


def add(path: Path, section: str, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Adds runs, by case and seed, to a section of a study's results; one that is there already is replaced."""
    if not any(found.values()):
        return
    kept = read(path) if path.exists() else {}
    runs: dict[str, dict[str, Any]] = kept.get(section, {})
    merged = {case: runs.get(case, {}) | dict(found.get(case, {})) for case in dict.fromkeys([*runs, *found])}
    write(path, {name: value for name, value in kept.items() if name not in _ABOUT} | {section: merged})


def write(path: Path, values: dict[str, Any]) -> None:
    """Writes a study's results, with what they were measured on last."""
    path.parent.mkdir(exist_ok=True)
    about = dict(zip(_ABOUT, (hardware(), versions("peft")), strict=True))
    path.write_text(to_json(about | values, separators=(",", ":")) + "\n", encoding="utf-8")


def results_of(study: str) -> dict[str, Any]:
    """The results of a study, by its name."""
    return read(RESULTS / f"{study}.json")
