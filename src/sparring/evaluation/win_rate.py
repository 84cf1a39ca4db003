"""Win rates with their errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from sparring.evaluation.annotations import Annotations
from sparring.evaluation.intervals import errors
from sparring.metrics.logistic import Array


@dataclass(frozen=True, kw_only=True)
class WinRate:
    """A win rate with its error.

    Attributes:
        rate: The win rate, in [0, 1].
        standard_error: Its standard error over instructions.
        interval: Its bootstrap percentile interval of 95 %.
    """

    rate: float
    standard_error: float
    interval: tuple[float, float]

    @classmethod
    def of(cls, rate: float, influence: Array, *, seed: int) -> Self:
        """A rate with its error over instructions; for the arguments see `errors`."""
        error, (low, high) = errors(rate, influence, seed=seed)
        return cls(rate=rate, standard_error=error, interval=(max(low, 0.0), min(high, 1.0)))


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Counts of verdicts.

    Attributes:
        wins: Rows that the model wins, P > ½.
        losses: Rows that it loses, P < ½.
        draws: Rows with P = ½.
        unknown: Rows without a verdict.
    """

    wins: int
    losses: int
    draws: int
    unknown: int


def tally(annotations: Annotations) -> Tally:
    """Counts the verdicts of some annotations."""
    preference = annotations.preference
    return Tally(
        wins=int((preference > 0.5).sum()),
        losses=int((preference < 0.5).sum()),
        draws=int((preference == 0.5).sum()),
        unknown=int(np.isnan(preference).sum()),
    )


def win_rate(annotations: Annotations, *, seed: int = 0) -> WinRate:
    """The win rate: the mean of P(the model's answer is the better one) over the rows with a verdict; a tie is ½.

    Raises:
        InputError: Fewer than two rows have a verdict.
    """
    preference = annotations.with_verdict().preference
    rate = float(preference.mean())
    return WinRate.of(rate, preference - rate, seed=seed)
