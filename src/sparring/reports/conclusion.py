"""The conclusion of a run in plain words: the best policy, its gain, and warnings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparring.reports.curves import LOOK, looks_of_warmup
from sparring.reports.samples import Answers
from sparring.reports.summary import PolicyRow, Summary

_CUT = 0.1
_PAST_BOUND = 0.5
_FEW = 100
# Nats a token; see `sparring.selfplay.monitor`.
_FAR = -2.5
_NAMES = {
    "accuracy/greedy": "greedy accuracy",
    "accuracy/sampled": "sampled accuracy",
    "win_rate/base": "win rate over the base model",
    "log_likelihood/token": "expert log-likelihood a token (nats)",
}


@dataclass(frozen=True, kw_only=True)
class Gain:
    """The gain of one policy over another in a metric, on the same held-out prompts.

    Attributes:
        over: The other policy's name.
        value: The difference of means.
        standard_error: Its standard error over prompts: of the paired differences or, where the values of single
            prompts were not kept, of the two means as if they were independent, which overstates it.
        paired: Whether it is that of paired differences.
    """

    over: str
    value: float
    standard_error: float
    paired: bool

    @property
    def is_noise(self) -> bool:
        """Whether it is within two standard errors of zero."""
        return abs(self.value) <= 2 * self.standard_error

    def __str__(self) -> str:
        value = f"{self.value:+.3f}".replace("-", "−")
        return f"{value} ± {self.standard_error:.3f} over the {self.over}"


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """A run in a few sentences.

    Attributes:
        headline: The most important sentence.
        sentences: The other ones.
        warnings: Warnings.
        gains: The gains of the best policy over the base model and over the policy that self-play started from.
    """

    headline: str
    sentences: list[str]
    warnings: list[str]
    gains: list[Gain]


def conclude(summary: Summary, answers: Answers | None) -> Conclusion:
    """The conclusion from a run, as far as it got."""
    if summary.result is None:
        return Conclusion(headline=_progress(summary), sentences=[], warnings=_warnings(summary, None, []), gains=[])
    best = next((row for row in summary.rows if row.path == summary.result["best"]), None)
    metric, reason, stopped = (summary.result[name] for name in ("metric", "reason", "stopped_early"))
    ended = "It was stopped early" if stopped else "It was played to its end"
    if best is None or metric is None:
        return Conclusion(
            headline=_unwatched(summary),
            sentences=[f"{ended}: {reason}." if stopped else f"{reason[:1].upper()}{reason[1:]}."],
            warnings=_warnings(summary, None, []),
            gains=[],
        )
    start = _start(summary)
    # The base model has no win rate over itself.
    known = (row for row in (summary.rows[0], start) if row is not None and metric in row.estimates)
    others = dict.fromkeys(row.path for row in known if row.path != best.path)
    rows = {row.path: row for row in summary.rows}
    gains = [gain(rows[path], best, metric, answers) for path in others]
    headline = f"The best policy is {_name(best)}"
    if gains and gains[-1].is_noise and best.name.startswith("iteration"):
        headline = f"No gain of self-play can be told from chance. The highest value has {_name(best)}"
    if metric in best.estimates:
        headline += f": {_NAMES.get(metric, metric)} {best.cell(metric, 3)}"
    headline += f", {gains[0]}." if gains else "."
    sentences = [f"Of that, self-play gained {gains[1]}, from which it started."] if len(gains) > 1 else []
    sentences += [*_warmup(summary), f"{ended}: {reason}."]
    return Conclusion(
        headline=headline.replace(" -", " −"),
        sentences=sentences,
        warnings=_warnings(summary, best, gains),
        gains=gains,
    )


def _warmup(summary: Summary) -> list[str]:
    """Where a warm-up ended that was to end at a plateau."""
    looks = looks_of_warmup(summary.events)[1:]
    if not looks:
        return []
    best = max(looks, key=lambda event: event[LOOK])
    return [
        f"The warm-up is that of {best['epoch']:.3g} epochs, of {looks[-1]['epoch']:.3g}: there the experts of its "
        f"validation prompts were likeliest (−{-best[LOOK]:.3f} nats a token)."
    ]


def _start(summary: Summary) -> PolicyRow | None:
    """The policy that self-play started from."""
    return next((row for row in reversed(summary.rows) if not row.name.startswith("iteration")), None)


def gain(before: PolicyRow, after: PolicyRow, metric: str, answers: Answers | None) -> Gain:
    """The gain of one policy over another."""
    over = {"base": "base model"}.get(before.name, before.name)
    pairs = _pairs(before.name, after.name, metric, answers)
    if pairs:
        differences = [second - first for first, second in pairs]
        n = len(differences)
        mean = math.fsum(differences) / n
        variance = math.fsum((value - mean) ** 2 for value in differences) / max(n - 1, 1)
        return Gain(over=over, value=mean, standard_error=math.sqrt(variance / n), paired=True)
    first, second = before.estimates[metric], after.estimates[metric]
    error = math.hypot(first["standard_error"], second["standard_error"])
    return Gain(over=over, value=second["mean"] - first["mean"], standard_error=error, paired=False)


def _pairs(before: str, after: str, metric: str, answers: Answers | None) -> list[tuple[float, float]]:
    if answers is None or before not in answers.policies or after not in answers.policies:
        return []
    first, second = (_per_prompt(answers, answers.policies.index(name), metric) for name in (before, after))
    return [(first[index], second[index]) for index in first if index in second]


def _per_prompt(answers: Answers, policy: int, metric: str) -> Mapping[int, float]:
    """A metric's value on each held-out prompt, by index; empty where it cannot be computed from the answers."""
    if metric == "log_likelihood/token":
        ends = answers.values(policy, "expert", "ends")
        scores = answers.values(policy, "expert", "log_prob")
        return {index: score / len(ends[index][0]) for index, (score,) in scores.items()}
    if not metric.startswith("accuracy/"):
        return {}
    verdicts = answers.values(policy, metric.removeprefix("accuracy/"), "right")
    known = {index: each for index, each in verdicts.items() if None not in each}
    return {index: sum(each) / len(each) for index, each in known.items()}


def _name(row: PolicyRow) -> str:
    return {"base": "the base model itself", "warm-up": "the warm-up, before any self-play"}.get(row.name, row.name)


def _progress(summary: Summary) -> str:
    last = next((event for event in reversed(summary.events) if "stage" in event), None)
    if last is None:
        return "This run has not logged anything yet."
    where = f" of iteration {last['iteration']}" if "iteration" in last else ""
    step = f", step {last['step']}" if "step" in last else ""
    done = sum(row.name.startswith("iteration") for row in summary.rows)
    return (
        f"This run has not ended: {done} of {summary.iterations} iterations are measured. "
        f"Last heard of: {last['stage']}{where}{step}."
    )


def _unwatched(summary: Summary) -> str:
    """The headline of a run without a metric to choose its best policy by; with the win rate, if there is one."""
    if not any(row.estimates for row in summary.rows):
        return "This run has ended. Nothing was held out, so nothing says whether it gained."
    last = summary.rows[-1]
    rate = last.estimates.get("win_rate/base")
    verdict = "so nothing says which policy is the best"
    if rate is not None:
        verdict += f"; {last.name} wins {rate['mean']:.3f} ± {rate['standard_error']:.3f} against the base model"
    return f"This run has ended. The held-out prompts have no expert response, {verdict}."


def _warnings(summary: Summary, best: PolicyRow | None, gains: list[Gain]) -> list[str]:
    found: list[str] = []
    if best is not None and not best.name.startswith("iteration") and summary.iterations:
        found.append("No iteration of self-play is better than what it started from.")
    if gains and gains[-1].is_noise:
        found.append(f"The gain over the {gains[-1].over} is within two standard errors of zero: it may be chance.")
    if (start := _start(summary)) is not None and (value := _mean(start, "log_likelihood/token") or 0.0) < _FAR:
        found.append(
            f"Play started at −{-value:.1f} nats a token of the held-out experts: the policy had not learned to write "
            "as they do, so a gain over it may be what a longer warm-up would have brought."
        )
    if best is not None:
        found += _warnings_about(best)
    found += [
        f"Iteration {event['iteration']}: the judge preferred no response to another, so there was nothing to learn."
        for event in summary.events
        if event.get("judge/decided") == 0
    ]
    found += [f"Iteration {item['iteration']}: {item['text']}" for item in summary.stability if item["status"] != "ok"]
    skipped = len(summary.manifest["data"]["skipped"])
    if skipped:
        found.append(f"{skipped} rows of the data were invalid and left out; the manifest lists them.")
    return found


def _warnings_about(best: PolicyRow) -> list[str]:
    found = []
    n = max(int(value["n"]) for value in best.estimates.values())
    if n < _FEW:
        found.append(f"Only {n} prompts are held out, so every number here is coarse.")
    if (finished := _mean(best, "finished/sampled")) is not None and finished < 1 - _CUT:
        found.append(f"{1 - finished:.0%} of its sampled answers are cut at the token limit.")
    if (past := _mean(best, "rewards/past_bound")) is not None and past > _PAST_BOUND:
        found.append(f"On held-out prompts {past:.0%} of the rewards lie past the bound that the objective aims at.")
    if (estimate := _mean(best, "divergence_estimate")) is not None and estimate < 0:
        found.append("The divergence estimate is below zero: as a lower bound it says nothing here.")
    return found


def _mean(row: PolicyRow, key: str) -> float | None:
    value: dict[str, Any] | None = row.estimates.get(key)
    return None if value is None else value["mean"]
