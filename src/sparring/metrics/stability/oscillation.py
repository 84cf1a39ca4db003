"""Whether every iteration takes back what the one before it did."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from itertools import chain, pairwise

from sparring.metrics.held_out import Estimate
from sparring.metrics.stability.history import History, Reading

# Only the last steps count, so that the distant past does not hide the present.
_STEPS = 5
# A single number reverses once by chance; as many log-probs as there are held-out prompts do not.
_FEWEST_STEPS = {"vector": 2, "number": 3}
_SERIES = {"objective": "the loss", "rewards/margins": "the margin"}


def oscillation(history: History) -> Reading | None:
    """The largest oscillation index of three series: the log-probs of held-out experts, the loss and the margin.

    The last five steps count. The log-probs need two steps, the loss and the margin three, and these are taken to stand
    still where they moved by less than twice their standard error.
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
    """The share of each step that the next one takes back: max(0, −φ), φ = Σ_t ⟨d_t, d_{t+1}⟩ / Σ_t ⟨d_t, d_t⟩.

    d_t = v_{t+1} − v_t are the steps of the series; φ is the least-squares factor from one step to the next. Where the
    error shrinks by 1 − e an iteration, as near the fixed point of an exact game, it is 1 − e. So the index is 0 for a
    play that arrives at once or from one side, 1 for one that repeats every second iteration, and above 1 for one that
    swings ever wider. Noise that is independent from one iteration to the next, around a standstill, gives ½.

    Args:
        series: `[T+1, N]` what was measured after each iteration, T ≥ 2.

    Returns:
        The index, 0 for a series that stands still; NaN where something is not finite.
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
    """The means; one that differs from the last by less than two standard errors is replaced by it."""
    kept = [values[0]]
    for value in values[1:]:
        last = kept[-1]
        noise = 2.0 * math.hypot(last.standard_error, value.standard_error)
        stands = abs(value.mean - last.mean) <= noise
        kept.append(last if stands else value)
    return [value.mean for value in kept]
