"""Win rates, and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from sparring.evaluation.annotations import Annotations
from sparring.evaluation.intervals import errors
from sparring.metrics.logistic import Array


@dataclass(frozen=True, kw_only=True)
class WinRate:
    """A win rate in [0, 1], its standard error, and its bootstrap percentile interval of 95 %."""

    rate: float
    standard_error: float
    interval: tuple[float, float]

    @classmethod
    def of(cls, rate: float, influence: Array, *, seed: int) -> Self:
        """A rate with the error that instructions give it; the arguments are those of `errors`."""
        error, (low, high) = errors(rate, influence, seed=seed)
        return cls(rate=rate, standard_error=error, interval=(max(low, 0.0), min(high, 1.0)))


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How many rows the model wins (P > ½), loses (P < ½) and draws, and how many have no verdict."""

    wins: int
    losses: int
    draws: int
    unknown: int


def tally(annotations: Annotations) -> Tally:
    """Counts the verdicts. Rows without one count in nothing else."""
    preference = annotations.preference
    return Tally(
        wins=int((preference > 0.5).sum()),
        losses=int((preference < 0.5).sum()),
        draws=int((preference == 0.5).sum()),
        unknown=int(np.isnan(preference).sum()),
    )


def win_rate(annotations: Annotations, *, seed: int = 0) -> WinRate:
    """Mean over the rows with a verdict of P(the model's answer is the better one); a tie is ½.

    Raises:
        InputError: Fewer than two rows have a verdict.
    """
    preference = annotations.known().preference
    rate = float(preference.mean())
    return WinRate.of(rate, preference - rate, seed=seed)
