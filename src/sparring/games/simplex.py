"""Distributions on n outcomes, float64: checks and exact divergences, nats."""

from __future__ import annotations

import torch
from torch import Tensor


def distribution(name: str, value: Tensor) -> Tensor:
    """Checks a distribution `[n]` with full support and returns it as float64, summing to one exactly.

    Full support is what makes every log ratio finite: where the expert never goes, the best response would be a
    probability of zero, which no softmax policy reaches.

    Raises:
        ValueError: The shape is not `[n]` with n ≥ 2, an entry is not positive, or the sum is not 1 within 1e-6.
    """
    value = torch.as_tensor(value, dtype=torch.float64).detach()
    if value.ndim != 1 or value.shape[0] < 2:
        raise ValueError(f"{name} must have shape [n] with n ≥ 2, got {list(value.shape)}")
    if not bool((value > 0).all()):
        raise ValueError(f"{name} must be positive everywhere: a zero makes a log ratio infinite")
    if abs(float(value.sum()) - 1.0) > 1e-6:
        raise ValueError(f"{name} must sum to 1, got {float(value.sum())}")
    return value / value.sum()


def kl_divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p‖q) = Σ p log(p/q) over the last dimension, nats."""
    return (log_p.exp() * (log_p - log_q)).sum(-1).clamp(min=0.0)


def total_variation(log_p: Tensor, log_q: Tensor) -> Tensor:
    """½ Σ |p − q| over the last dimension, in [0, 1]."""
    return 0.5 * (log_p.exp() - log_q.exp()).abs().sum(-1)


def chi_squared(log_p: Tensor, log_q: Tensor) -> Tensor:
    """χ²(p‖q) = Σ (p − q)²/q over the last dimension; infinite where q underflows."""
    return ((log_p - log_q).expm1().square() * log_q.exp()).sum(-1)


def log_error(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Half the range of log p − log q over the last dimension, nats: a constant, as of a normaliser, does not count.

    Where the exact iteration is π_{t+1} ∝ π_t (π_E/π_t)^e, it is multiplied by |1 − e| exactly.
    """
    difference = log_p - log_q
    return 0.5 * (difference.amax(-1) - difference.amin(-1))
