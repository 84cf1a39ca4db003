"""Standard errors and bootstrap intervals of figures over instructions."""

from __future__ import annotations

import numpy as np

from sparring.metrics.logistic import Array

RESAMPLES = 1000
CONFIDENCE = 0.95


def errors(value: float, influence: Array, *, seed: int) -> tuple[float, tuple[float, float]]:
    """The standard error of a figure and its bootstrap percentile interval of 95 %.

    Args:
        value: The figure r.
        influence: `[N]`, of mean 0, N ≥ 2: N times what an instruction's weight adds to r, to first order (Efron 1982,
            the infinitesimal jackknife). The standard error is its standard deviation / √N; the bootstrap is of r + its
            mean. For a mean that is the ordinary bootstrap; a regression need not be fitted again.
        seed: The seed of the bootstrap.
    """
    n = len(influence)
    draws = np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(value + influence[draws].mean(1), [tail, 1 - tail])
    return float(influence.std(ddof=1)) / n**0.5, (float(low), float(high))
