"""How far two rewards rank the same responses alike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

from sparring.metrics.held_out import Estimate


def reward_agreement(implicit: Sequence[Sequence[float]], explicit: Sequence[Sequence[float]]) -> dict[str, Estimate]:
    """`rewards/agreement`: the share of a prompt's pairs of responses that both rewards order alike, mean over prompts.

    It is (1 + τ)/2 of Kendall's τ_a among the pairs of different responses: 1 where the order is the same, ½ by chance,
    0 where it is reversed. A pair that only one of the rewards has equal counts half; one that both have equal is the
    same response twice, and no pair. A prompt without a pair is left out.

    In an exact game it is 1: the implicit reward βΔ of SPIN's minimum and the minimum of a `RewardPlayer` are both
    log π_E − log π_o, up to a constant a prompt.

    Args:
        implicit: Δ of the responses to each prompt, in nats; any positive multiple has the same order.
        explicit: The other reward of the same responses.
    """
    shares = [list(_alike(a, b)) for a, b in zip(implicit, explicit, strict=True)]
    means = [math.fsum(each) / len(each) for each in shares if each]
    return {"rewards/agreement": Estimate.of(means)} if means else {}


def _alike(a: Sequence[float], b: Sequence[float]) -> Iterator[float]:
    for i, j in combinations(range(len(a)), 2):
        first, second = a[i] - a[j], b[i] - b[j]
        if first == 0.0 == second:
            continue
        yield 0.5 if 0.0 in {first, second} else float((first > 0) == (second > 0))
