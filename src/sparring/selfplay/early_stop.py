"""The early stop: ends a run when a policy falls too far below the best one, or an alarm says so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sparring.metrics import Estimate
from sparring.metrics.likelihood import LIKELIHOOD
from sparring.metrics.stability import Finding
from sparring.selfplay.config.stop import StopConfig

_WATCHED = ("accuracy/greedy", "win_rate/base", LIKELIHOOD, "preference/accuracy")
# The win rate of the base model over itself, which no judge is asked about.
_EVEN = Estimate(mean=0.5, standard_error=0.0, n=1)
_UNKNOWN = Estimate(mean=-math.inf, standard_error=0.0, n=1)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The best policy so far, and whether the run ends with the last one.

    Attributes:
        metric: The held-out metric by which policies are compared; None if there is none.
        best: The number of the best policy.
        stop: Whether the run ends: the last policy fell too far, or a check in `stop.alarms` raised the alarm.
        reason: Why it ends or goes on, in plain words.
    """

    metric: str | None
    best: int
    stop: bool
    reason: str


def watch(
    config: StopConfig, evaluations: Mapping[int, Mapping[str, Estimate]], findings: Sequence[Finding] = ()
) -> Standing:
    """The standing after the last policy, from each policy's held-out estimates, by number, and the checks' findings.

    The best policy is the one with the highest value, among equals the one that finds the held-out experts likeliest
    a token, then the earliest. The last one has collapsed when it lies more than `max_drop`, and more than two standard
    errors of the difference, below the best.
    """
    standing = _compare(config, evaluations)
    alarms = [finding for finding in findings if finding.status == "alarm" and finding.check in config.alarms]
    if standing.stop or not alarms or not config.enabled:
        return standing
    reason = "; ".join(f"the alarm of '{alarm.check}', which is in stop.alarms: {alarm.text}" for alarm in alarms)
    return replace(standing, stop=True, reason=reason)


def beside(standing: Standing, best: Mapping[str, Estimate], control: Mapping[int, Mapping[str, Estimate]]) -> Standing:
    """The standing with the best policy of the control as the best one, if it is better than that of the play.

    Among equal policies of the control, the best is the one that finds the held-out experts likeliest.

    Args:
        standing: The standing at the end of the play.
        best: The estimates of the play's best policy.
        control: The estimates of the control's policies, by number.
    """
    metric = standing.metric
    if metric is None:
        return standing
    means = {policy: _number(each[metric].mean) for policy, each in control.items() if metric in each}
    likelihoods = {policy: _number(control[policy].get(LIKELIHOOD, _UNKNOWN).mean) for policy in means}
    top = max(means, key=lambda policy: (means[policy], likelihoods[policy]), default=None)
    if top is None or not means[top] > best.get(metric, _EVEN).mean:
        return standing
    text = f"more supervised fine-tuning, for as much computation, reached {means[top]:.4g}, which is more"
    return replace(standing, best=top, reason=f"{standing.reason}; {text}")


def _compare(config: StopConfig, evaluations: Mapping[int, Mapping[str, Estimate]]) -> Standing:
    """The standing by the watched metric, without the alarms."""
    last = max(evaluations)
    metric = _metric(config, evaluations[last])
    if metric is None:
        return Standing(
            metric=None, best=last, stop=False, reason="no held-out metric compares the policies, so none was watched"
        )
    watched = {policy: estimates.get(metric, _EVEN) for policy, estimates in sorted(evaluations.items())}
    values = {policy: estimate.mean for policy, estimate in watched.items()}
    likelihoods = {policy: evaluations[policy].get(LIKELIHOOD, _UNKNOWN).mean for policy in values}
    best = max(values, key=lambda policy: (_number(values[policy]), _number(likelihoods[policy])))
    drop = values[best] - values[last]
    # On few prompts chance alone moves a mean by its standard error. Both means are over the same prompts, so adding
    # their errors as if they were independent overstates the error of the difference.
    noise = 2.0 * math.hypot(*(watched[policy].standard_error for policy in (best, last)))
    # 1e-9 is for rounding. NaN counts as a collapse.
    if config.enabled and not drop <= max(config.max_drop, noise) + 1e-9:
        reason = (
            f"{metric} fell from {values[best]:.4g} to {values[last]:.4g}, by {drop:.4g}, more than "
            f"stop.max_drop = {config.max_drop:g}: playing on would build on a worse policy"
        )
        return Standing(metric=metric, best=best, stop=True, reason=reason)
    reason = f"{metric} is {values[last]:.4g}; the best so far is {values[best]:.4g}"
    return Standing(metric=metric, best=best, stop=False, reason=reason)


def _number(value: float) -> float:
    """The value; a NaN counts as lower than any number."""
    return -math.inf if math.isnan(value) else value


def _metric(config: StopConfig, estimates: Mapping[str, Estimate]) -> str | None:
    wanted = _WATCHED if config.metric == "auto" else (config.metric,)
    return next((name for name in wanted if name in estimates), None)
