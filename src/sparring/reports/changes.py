"""The changes by self-play in words: answers that got better, and answers that got worse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparring.metrics.likelihood import LIKELIHOOD
from sparring.policies import BASE
from sparring.reports.gain import differences
from sparring.reports.samples import Answers
from sparring.reports.summary import PolicyRow, Summary
from sparring.shards import held_out_verdicts_path, read_verdicts
from sparring.stage_directory import StageDirectory

_MOST = 3


@dataclass(frozen=True, kw_only=True)
class Change:
    """Two policies' answers to one held-out prompt.

    Attributes:
        index: The prompt's number.
        earlier: The turns before the prompt, each as a text of its role and content.
        prompt: The prompt.
        before: The answer before self-play.
        after: The answer after it.
    """

    index: int
    earlier: list[str]
    prompt: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The changes between two policies, prompt by prompt.

    Attributes:
        before: The name of the policy that self-play started from.
        after: The name of the best policy of self-play; of the last policy while the run goes on, or if no metric tells
            which is the best.
        told_by: What decides between better and worse.
        kind: Whether the answers are greedy or sampled.
        better: Some answers that got better, the largest changes first.
        worse: Some answers that got worse, the largest changes first.
        counts: The numbers of answers that got better, that got worse, and of all.
    """

    before: str
    after: str
    told_by: str
    kind: str
    better: list[Change]
    worse: list[Change]
    counts: tuple[int, int, int]


def changes(summary: Summary, answers: Answers | None) -> Changes | None:
    """The changes by self-play, by the verifier, else by the judge, else by the likelihood of the expert's responses.

    The first of these that finds a difference decides. None if there is no policy of self-play yet, none of its answers
    were kept, or nothing changed.
    """
    before, after = _ends(summary)
    if before is None or after is None or answers is None or not answers.count:
        return None
    if not {before.name, after.name} <= {*answers.policies}:
        return None
    evidence = (
        ("verifier", "greedy", differences(before.name, after.name, "accuracy/greedy", answers)),
        ("judge", "sampled", _judged(summary, before, after)),
        ("likelihood", "greedy", differences(before.name, after.name, LIKELIHOOD, answers)),
    )
    telling = next((each for each in evidence if any(each[2].values())), None)
    if telling is None:
        return None
    told_by, kind, by_prompt = telling
    most = sorted(by_prompt, key=lambda index: (-abs(by_prompt[index]), index))
    better, worse = ([index for index in most if by_prompt[index] * sign > 0] for sign in (1, -1))
    return Changes(
        before=before.name,
        after=after.name,
        told_by=told_by,
        kind=kind,
        better=_shown(answers, before.name, after.name, kind, better[:_MOST]),
        worse=_shown(answers, before.name, after.name, kind, worse[:_MOST]),
        counts=(len(better), len(worse), len(by_prompt)),
    )


def _ends(summary: Summary) -> tuple[PolicyRow | None, PolicyRow | None]:
    played = {row.path: row for row in summary.rows if row.name.startswith("iteration")}
    last, result = next(reversed(played.values()), None), summary.result or {}
    best = None if result.get("metric") is None else summary.best_of("iteration", result["metric"])
    return summary.start, played.get(result.get("best", ""), best or last)


def _judged(summary: Summary, before: PolicyRow, after: PolicyRow) -> dict[int, float]:
    """P(the later policy's first sample is better) − ½ on each prompt, if a judge compared the two."""
    path = held_out_verdicts_path(StageDirectory(summary.path / after.path), BASE, 0)
    if before is not summary.rows[0] or not path.exists():
        return {}
    rates = {row["index"]: row["pairwise"][0][1] for row in read_verdicts(path)}
    return {index: rate - 0.5 for index, rate in rates.items() if rate is not None}


def _shown(answers: Answers, before: str, after: str, kind: str, indices: list[int]) -> list[Change]:
    sides = (answers.rows(policy, kind, indices) for policy in (before, after))
    return [
        Change(
            index=first["index"],
            earlier=first.get("earlier") or [],
            prompt=first["prompt"],
            before=_said(first),
            after=_said(second),
        )
        for first, second in zip(*sides, strict=True)
    ]


def _said(row: Mapping[str, Any]) -> str:
    """An answer without the token that ended it."""
    text, ends = row["text"], [0, *row["ends"]]
    return str(text[: ends[-2]] if row["finish_reason"] == "stop" and len(ends) > 2 else text)
