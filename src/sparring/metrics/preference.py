"""The agreement of the policy's log ratios with the preferences of the data."""

from __future__ import annotations

import math
from collections.abc import Iterator

from sparring.metrics.held_out import Estimate, HeldOut, Preferences


def preference(held_out: HeldOut) -> dict[str, Estimate]:
    """The share of the data's preferences that the policy's log ratios agree with, and their mean margin.

    These are `preference/accuracy`, in [0, 1], and `preference/margin`, nats.

    With δ(y) = log π(y|x) − log π_base(y|x), over the pairs of a prompt's responses with P(y_w ≻ y_l | x) > ½, and then
    over prompts:

        accuracy = mean of [δ(y_w) > δ(y_l)], ½ where they are equal        margin = mean of δ(y_w) − δ(y_l)

    The base model itself has ½ and 0. There are no estimates where the data prefer no response to another.

    Source: TRL's DPOTrainer, `rewards/accuracies` and `rewards/margins` of its evaluation with the base model as the
    reference; there the margin is β times this, and equal rewards count as wrong.
    """
    known = [pairs for one in held_out.compared if (pairs := list(_margins(one)))]
    if not known:
        return {}
    right = [math.fsum(0.5 * ((margin > 0.0) + (margin >= 0.0)) for margin in pairs) / len(pairs) for pairs in known]
    return {
        "preference/accuracy": Estimate.of_rate(right),
        "preference/margin": Estimate.of([math.fsum(pairs) / len(pairs) for pairs in known]),
    }


def _margins(one: Preferences) -> Iterator[float]:
    for winner, row in zip(one.log_ratios, one.pairwise, strict=True):
        for loser, preferred in zip(one.log_ratios, row, strict=True):
            if preferred > 0.5:
                yield winner - loser
