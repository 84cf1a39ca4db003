"""The policy's win rate over other policies, by a judge."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sparring.metrics.held_out import Duel, Estimate, HeldOut

# The least number, and share, of pairs with a longer response than the rival's, and with a shorter one: with fewer the
# fit would extrapolate.
_FEWEST_PAIRS, _LEAST_SHARE = 10, 0.25
# The least Σ p(1 − p) of the fit, that of 16 undecided pairs. Below, length decides nearly alone and θ is arbitrary.
_LEAST_UNDECIDED = 4.0


def win_rate(held_out: HeldOut) -> dict[str, Estimate]:
    """The win rate over each rival, `win_rate/<rival>`, and at equal length, `win_rate/<rival>/length_controlled`.

    The win rate is P(the policy's response is better), with ½ for a tie, averaged over a prompt's pairs, then over
    prompts. Pairs without a verdict are left out, and a rival with fewer than two prompts has no win rate.

    The length-controlled win rate predicts the verdicts on responses of equal length: it is σ(θ) after fitting
    P = σ(θ + φ tanh(d/std d)), with d the difference of length, to all pairs (Dubois et al. 2024, arXiv 2404.04475,
    without difficulties). Its standard error is that of the infinitesimal jackknife over prompts. It is given only if
    at least ten pairs and a quarter of all have a longer response than the rival's, and as many a shorter one, so that
    the fit interpolates; and if Σ P(1 − P) is at least 4, since below that length decides nearly alone, and neither θ
    nor its error can be estimated. See docs/metrics.md.
    """
    rates = {}
    for rival, prompts in held_out.duels.items():
        known = [judged for pairs in prompts if (judged := [pair for pair in pairs if pair.preference is not None])]
        if len(known) > 1:
            rates[f"win_rate/{rival}"] = Estimate.of_rate(
                [math.fsum(_preferences(pairs)) / len(pairs) for pairs in known]
            )
            controlled = _length_controlled(known)
            if controlled is not None:
                rates[f"win_rate/{rival}/length_controlled"] = controlled
    return rates


def _preferences(pairs: Sequence[Duel]) -> list[float]:
    return [pair.preference for pair in pairs if pair.preference is not None]


def _length_controlled(prompts: Sequence[Sequence[Duel]]) -> Estimate | None:
    from sparring.metrics.logistic import Regression, length_feature

    pairs = [pair for of_prompt in prompts for pair in of_prompt]
    difference = np.array([float(pair.length - pair.rival_length) for pair in pairs])
    n = len(pairs)
    if min((difference > 0).sum(), (difference < 0).sum()) < max(_FEWEST_PAIRS, _LEAST_SHARE * n):
        return None
    constant = np.ones(n)
    rows = Regression(
        n=n,
        features=np.stack([constant, length_feature(difference)], axis=1),
        target=np.array(_preferences(pairs)),
        weight=constant,
    )
    if rows.undecided() < _LEAST_UNDECIDED:
        return None
    rate, influence = rows.mean_at(np.stack([constant, np.zeros(n)], axis=1))
    # The pairs of a prompt are not independent, so the influence of a prompt is the sum of theirs.
    numbers = np.repeat(np.arange(len(prompts)), [len(of_prompt) for of_prompt in prompts])
    of_prompts = np.bincount(numbers, weights=influence) * len(prompts) / n
    return Estimate(mean=rate, standard_error=float(of_prompts.std(ddof=1)) / len(prompts) ** 0.5, n=len(prompts))
