"""Compares two groups of runs prompt by prompt, if both were measured on the same held-out prompts."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from sparring.metrics.likelihood import LIKELIHOOD
from sparring.reports.gain import Gain, gain
from sparring.reports.samples import Answers, read_answers
from sparring.reports.summary import MORE_SFT, PolicyRow, Summary
from sparring.stage_directory import StageDirectory

# The values of single prompts in a run; see `sparring.reports.gain`.
_COMPARED = (
    ("accuracy/greedy", "greedy accuracy"),
    ("accuracy/sampled", "sampled accuracy"),
    (LIKELIHOOD, "log-likelihood a token"),
)


def last_policy(run: Summary) -> PolicyRow | None:
    """The last policy that was measured, apart from those of the control."""
    return next((row for row in reversed(run.rows) if not row.name.startswith(MORE_SFT)), None)


def against(name: str, runs: Sequence[Summary], over: str, others: Sequence[Summary]) -> str | None:
    """The gain of the last policies of some runs over those of other runs, as a sentence.

    With one run each, it has the 95 % interval over the prompts, paired. With several, runs of the same seed are
    paired, and it is the mean ± the standard deviation over seeds.

    Args:
        name: The name of the runs.
        runs: The runs.
        over: The name of the other runs.
        others: The other runs.

    Returns:
        The sentence, which tells if the prompts are not the same; None if no values of single prompts were kept, or
        several runs have no seed in common.
    """
    single = len(runs) == len(others) == 1
    pairs = [(mine, theirs) for mine in runs for theirs in others if single or _seed(mine) == _seed(theirs)]
    read = [found for mine, theirs in pairs if (found := _read(mine, theirs)) is not None]
    if not read:
        return None
    if not all(_same_prompts(answers) for _, _, answers in read):
        return (
            f"{name} and {over} were measured on different held-out prompts, so their numbers do not compare: give "
            "both the same seed, data.source and data.held_out, or the same data.held_out_source."
        )
    if not any(key in row.estimates for _, row, _ in read for key, _ in _COMPARED):
        return None
    told = [f"{heading} {_told(gains)}" for key, heading in _COMPARED if (gains := list(_gains(read, key)))]
    prompts = len({*read[0][2].table["index"].to_pylist()})
    how = "95 % interval, paired" if len(read) == 1 else f"± standard deviation over {len(read)} seeds"
    return f"{name} over {over}, the last policies on the same {prompts} prompts: {'; '.join(told)} ({how})."


def _seed(run: Summary) -> int:
    return int(run.config["seed"])


_Read = tuple[PolicyRow, PolicyRow, Answers]


def _read(mine: Summary, theirs: Summary) -> _Read | None:
    """The last policies of two runs, the other's first, with the answers of both; None if one has none."""
    found = []
    for name, run in (("the other", theirs), ("the one", mine)):
        row = last_policy(run)
        if row is None:
            return None
        found.append((replace(row, name=name), StageDirectory(run.path / row.path)))
    answers = read_answers([(row.name, stage) for row, stage in found])
    if answers is None or len(answers.policies) < len(found):
        return None
    return found[0][0], found[1][0], answers


def _same_prompts(answers: Answers) -> bool:
    asked = list(zip(answers.table["index"].to_pylist(), answers.table["prompt"].to_pylist(), strict=True))
    first, second = ({asked[place] for place in np.flatnonzero(answers.policy == number)} for number in (0, 1))
    return first == second


def _gains(read: Sequence[_Read], key: str) -> Iterator[Gain]:
    for before, after, answers in read:
        if key in before.estimates and key in after.estimates:
            yield gain(before, after, key, answers)


def _told(gains: Sequence[Gain]) -> str:
    values = [each.value for each in gains]
    text = f"{statistics.fmean(values):+.3f}"
    if len(values) > 1:
        return f"{text} ± {statistics.stdev(values):.3f}".replace("-", "−")
    low, high = gains[0].interval
    return f"{text} [{low:+.3f}, {high:+.3f}]".replace("-", "−")
