"""The gain of one policy over another, prompt by prompt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparring.metrics.held_out import NORMAL_QUANTILE
from sparring.metrics.likelihood import LIKELIHOOD
from sparring.reports.samples import Answers
from sparring.reports.summary import PolicyRow

_BASE_MODEL = "base model"
PREFERENCE = "preference/accuracy"


@dataclass(frozen=True, kw_only=True)
class Gain:
    """The gain of one policy over another in a metric, on the same held-out prompts.

    Attributes:
        over: The other policy's name.
        value: The difference of means.
        standard_error: Its standard error over prompts: that of the paired differences or, if the values of single
            prompts were not kept, that of two independent means, which is too large.
        paired: Whether it is that of paired differences.
    """

    over: str
    value: float
    standard_error: float
    paired: bool

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval, by the normal distribution."""
        return self.value - NORMAL_QUANTILE * self.standard_error, self.value + NORMAL_QUANTILE * self.standard_error

    @property
    def is_noise(self) -> bool:
        """Whether it is within two standard errors of zero."""
        return abs(self.value) <= 2 * self.standard_error

    def __str__(self) -> str:
        value = f"{self.value:+.3f}".replace("-", "−")
        return f"{value} ± {self.standard_error:.3f} over the {self.over}"


def gain(before: PolicyRow, after: PolicyRow, metric: str, answers: Answers | None) -> Gain:
    """The gain of one policy over another."""
    over = {"base": _BASE_MODEL}.get(before.name, before.name)
    changes = list(differences(before.name, after.name, metric, answers).values())
    if changes:
        is_rate = "interval" in before.estimates.get(metric, {})
        error = _rate_error(changes) if is_rate else _mean_error(changes)
        return Gain(over=over, value=math.fsum(changes) / len(changes), standard_error=error, paired=True)
    first, second = before.estimates[metric], after.estimates[metric]
    error = _error(second) if is_half(over, metric) else math.hypot(_error(first), _error(second))
    return Gain(over=over, value=second["mean"] - first["mean"], standard_error=error, paired=False)


def is_half(over: str, metric: str) -> bool:
    """Whether a policy's value is ½ by the metric's definition, and so has no error.

    That is the preference accuracy of the base model: its log ratio to itself is 0, so every preference ties.
    """
    return over == _BASE_MODEL and metric == PREFERENCE


def _mean_error(changes: Sequence[float]) -> float:
    n = len(changes)
    mean = math.fsum(changes) / n
    return math.sqrt(math.fsum((value - mean) ** 2 for value in changes) / max(n - 1, 1) / n)


def _rate_error(changes: Sequence[float]) -> float:
    """The standard error of a difference of rates on the same n prompts, which is never 0.

    It counts two prompts more: half a prompt that got better, half a prompt that got worse, and one without a change.

    Source: Agresti and Min 2005 (Statistics in Medicine 24, section 4), with changes of −1, 0 and 1.
    """
    n = len(changes) + 2
    total, squares = math.fsum(changes), math.fsum(value * value for value in changes) + 1.0
    return math.sqrt(squares - total * total / n) / n


def _error(estimate: Mapping[str, Any]) -> float:
    if "interval" not in estimate:
        return float(estimate["standard_error"])
    low, high = estimate["interval"]
    return float(high - low) / (2.0 * NORMAL_QUANTILE)


def differences(before: str, after: str, metric: str, answers: Answers | None) -> dict[int, float]:
    """The change of a metric on each held-out prompt, by index; empty if the values were not kept."""
    if answers is None or before not in answers.policies or after not in answers.policies:
        return {}
    first, second = (_per_prompt(answers, answers.policies.index(name), metric) for name in (before, after))
    return {index: second[index] - first[index] for index in first if index in second}


def _per_prompt(answers: Answers, policy: int, metric: str) -> Mapping[int, float]:
    if metric == LIKELIHOOD:
        ends = answers.values(policy, "expert", "ends")
        scores = answers.values(policy, "expert", "log_prob")
        return {index: score / len(ends[index][0]) for index, (score,) in scores.items()}
    if not metric.startswith("accuracy/"):
        return {}
    verdicts = answers.values(policy, metric.removeprefix("accuracy/"), "right")
    known = {index: each for index, each in verdicts.items() if None not in each}
    return {index: sum(each) / len(each) for index, each in known.items()}
