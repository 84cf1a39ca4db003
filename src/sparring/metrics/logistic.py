"""Logistic regression on probabilities, and its prediction where features are set to other values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
"""An array of float64."""

RIDGE = 1e-6
"""A ridge too weak to change a fit, except where the targets can be separated: there it keeps the fit finite."""


def fit_logistic(features: Any, target: Array, *, ridge: Array | float, weight: Array | float = 1.0) -> Array:
    """The weights of a logistic regression on probabilities y, with a ridge penalty, by L-BFGS from zero.

    They minimise −Σ_i v_i [y_i log σ(x_i·w) + (1 − y_i) log σ(−x_i·w)] + ½ Σ_j r_j w_j², which is convex.

    Args:
        features: `[N, D]`, an array or a SciPy sparse array.
        target: `[N]` y in [0, 1].
        ridge: `[D]` r, or one for all. Above 0, or w is infinite where the targets can be separated.
        weight: `[N]` v, or one for all.
    """

    def loss(w: Array) -> tuple[float, Array]:
        z = features @ w
        likelihood = weight * (target * log_expit(z) + (1 - target) * log_expit(-z))
        gradient = features.T @ (weight * (expit(z) - target)) + ridge * w
        return float(0.5 * np.sum(ridge * w * w) - likelihood.sum()), gradient

    solution: Array = minimize(
        loss, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B", options={"ftol": 1e-12, "maxiter": 1000}
    ).x
    return solution


def length_feature(difference: Array) -> Array:
    """The feature `[N]` of length differences d, not all equal: tanh(d / std d), from arXiv 2404.04475."""
    feature: Array = np.tanh(difference / difference.std(ddof=1))
    return feature


@dataclass(frozen=True, kw_only=True)
class Regression:
    """A logistic regression of n observations with m rows each.

    Attributes:
        n: The number of observations.
        features: `[m n, D]`; rows i, i + n, … belong to observation i.
        target: `[m n]` in [0, 1].
        weight: `[m n]`.
    """

    n: int
    features: Array
    target: Array
    weight: Array

    @cached_property
    def fitted(self) -> Array:
        """`[D]` the fitted w."""
        return fit_logistic(self.features, self.target, weight=self.weight, ridge=RIDGE)

    def undecided(self) -> float:
        """The sum Σ v p(1 − p) of fitted probabilities; near 0 the targets are separated and the fit is arbitrary."""
        return float(self._spread.sum())

    def mean_at(self, features: Array) -> tuple[float, Array]:
        """The mean of σ(x·w) at other features `[n, D]` of the observations, and each observation's influence on it.

        The influence `[n]` is n times the derivative of the mean by the observation's weight; its mean is 0.
        """
        predicted = expit(features @ self.fitted)
        slope = (predicted * (1 - predicted)) @ features
        mean = float(predicted.mean())
        return mean, predicted - mean + self._scores() @ np.linalg.solve(self._curvature(), slope)

    def _scores(self) -> Array:
        """`[n, D]` each observation's gradient of the log-likelihood."""
        residual = self.weight * (self.target - expit(self.features @ self.fitted))
        scores: Array = (residual[:, None] * self.features).reshape(-1, self.n, self.features.shape[1]).sum(0)
        return scores

    def _curvature(self) -> Array:
        """`[D, D]` minus the Hessian of the penalised log-likelihood."""
        ridge = RIDGE * np.eye(self.features.shape[1])
        curvature: Array = (self.features.T * self._spread) @ self.features + ridge
        return curvature

    @property
    def _spread(self) -> Array:
        predicted = expit(self.features @ self.fitted)
        spread: Array = self.weight * predicted * (1 - predicted)
        return spread
