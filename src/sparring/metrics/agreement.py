"""The agreement of two rewards about the order of the same responses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

from sparring.metrics.held_out import Estimate


def reward_agreement(implicit: Sequence[Sequence[float]], explicit: Sequence[Sequence[float]]) -> dict[str, Estimate]:
    """`rewards/agreement`: the share of a prompt's pairs of responses that both rewards order alike, mean over prompts.

    It is (1 + τ)/2, with Kendall's τ_a over the pairs of different responses: 1 for the same order, ½ by chance, 0 for
    the reversed order. A pair that ties in one of the rewards counts half; one that ties in both is the same response
    twice, and does not count. A prompt without a pair is left out.

    In an exact game it is 1: the implicit reward βΔ of SPIN's minimum and the minimum of a `RewardPlayer` are both
    log π_E − log π_o, up to a constant for each prompt.

    Args:
        implicit: Δ of the responses to each prompt, nats, or any positive multiple of it.
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
