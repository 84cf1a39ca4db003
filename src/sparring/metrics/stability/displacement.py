"""Likelihood displacement: whether the margin grows while the favoured responses become less likely."""

from __future__ import annotations

import math

from sparring.metrics.stability.history import History, Reading

_FAVOURED = {"rewards/expert": "expert's", "rewards/chosen": "preferred"}


def displacement(history: History) -> Reading | None:
    """The loss of the favoured responses for each nat of margin, −r₊/m, if their reward r₊ fell and the margin m grew.

    m is r₊ less the reward of the other responses, so it also grows if both fall, the others faster: the policy then
    finds the expert's responses (with a judge, the preferred ones) *less* likely than its opponent does, and moves to
    responses that are neither. The ratio does not depend on β. A fall within two standard errors counts as none.

    Source: the phenomenon is the likelihood displacement of Razin et al. 2024, arXiv 2410.08847; the ratio is ours.
    """
    margin = history.of_game("rewards/margins", history.iteration)
    found = {who: history.of_game(name, history.iteration) for name, who in _FAVOURED.items()}
    who, reward = next(((who, reward) for who, reward in found.items() if reward is not None), ("", None))
    if margin is None or reward is None:
        return None
    if math.isnan(margin.mean) or math.isnan(reward.mean):
        return Reading(value=math.nan, text=f"the margin or the reward of the {who} responses is not a number")
    if margin.mean <= 0.0 or reward.mean > -2.0 * reward.standard_error:
        return Reading(value=0.0, text=f"the {who} responses do not pay for the margin")
    value = -reward.mean / margin.mean
    return Reading(
        value=value,
        text=f"the {who} responses lost {value:.2g} nats of reward for every nat that the margin grew",
    )
