"""Oscillation: whether every iteration undoes the one before it."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from itertools import chain, pairwise

from sparring.metrics.held_out import Estimate
from sparring.metrics.stability.history import History, Reading

# Only the last steps count, so that the distant past does not hide the present.
_STEPS = 5
# The least steps: a single number may reverse once by chance; the log-probs of all held-out experts do not.
_FEWEST_STEPS = {"vector": 2, "number": 3}
_SERIES = {"objective": "the loss", "rewards/margins": "the margin"}


def oscillation(history: History) -> Reading | None:
    """The largest oscillation index of three series: the log-probs of held-out experts, the loss and the margin.

    The last five steps count. The log-probs need two steps, the loss and the margin three. A loss or margin that moved
    by less than twice its standard error counts as not moved.
    """
    indices = {"the expert's log-probabilities": _of_log_probs(history)}
    indices |= {title: _of_values(history, name) for name, title in _SERIES.items()}
    known = {title: index for title, index in indices.items() if index is not None}
    if not known:
        return None
    what = max(known, key=lambda title: (math.isnan(known[title]), known[title]))
    value = known[what]
    if math.isnan(value):
        return Reading(value=value, text=f"{what}: not all are finite numbers")
    if value == 0.0:
        return Reading(value=value, text="the iterations do not take back each other's steps")
    return Reading(value=value, text=f"{what}: each iteration takes back {value:.0%} of the step before it")


def oscillation_index(series: Sequence[Sequence[float]]) -> float:
    """The oscillation index, the share of each step that the next one takes back: max(0, −φ).

    φ = Σ_t ⟨d_t, d_{t+1}⟩ / Σ_t ⟨d_t, d_t⟩ is the least-squares factor from one step d_t = v_{t+1} − v_t of the series
    to the next. If an iteration multiplies the error by 1 − e, as near the fixed point of an exact game, φ = 1 − e. So
    the index is 0 for a play that converges at once or from one side, 1 for one that repeats every second iteration,
    and above 1 for one that swings ever wider. Independent noise around a constant gives ½.

    Args:
        series: `[T+1, N]` values after each iteration, T ≥ 2.

    Returns:
        The index, 0 for a constant series; NaN if a value is not finite.
    """
    if not all(map(math.isfinite, chain.from_iterable(series))):
        return math.nan
    steps = [list(map(operator.sub, after, before)) for before, after in pairwise(series)]
    reversal = math.fsum(_product(step, following) for step, following in pairwise(steps))
    size = math.fsum(_product(step, step) for step in steps[:-1])
    return max(0.0, -reversal / size) if size > 0.0 else 0.0


def _product(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(map(operator.mul, one, other))


def _of_log_probs(history: History) -> float | None:
    series = [history.expert_log_probs[policy] for policy in sorted(history.expert_log_probs)]
    if len(series) <= _FEWEST_STEPS["vector"] or not series[0]:
        return None
    return oscillation_index(series[-_STEPS - 1 :])


def _of_values(history: History, name: str) -> float | None:
    found = [history.of_game(name, number) for number in range(history.phase_start, history.iteration + 1)]
    values = [value for value in found if value is not None][-_STEPS - 1 :]
    if len(values) <= _FEWEST_STEPS["number"]:
        return None
    return oscillation_index([[value] for value in _without_noise(values)])


def _without_noise(values: Sequence[Estimate]) -> list[float]:
    """The means; a mean within two standard errors of the last one is replaced by it."""
    kept = [values[0]]
    for value in values[1:]:
        last = kept[-1]
        noise = 2.0 * math.hypot(last.standard_error, value.standard_error)
        stands = abs(value.mean - last.mean) <= noise
        kept.append(last if stands else value)
    return [value.mean for value in kept]
