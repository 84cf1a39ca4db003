"""Between the latest policy and the base model, on a logarithmic scale: the opponent of α-SPIN and Nash-MD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from sparring.registry import require_positive
from sparring.run_directory import BASE
from sparring.types import OpponentSpec


@dataclass(frozen=True, kw_only=True)
class GeometricMixture:
    """log π_o = (1−α) log π_t + α log π_ref, samples from π_t.

    βΔ against this opponent is β(1−α) times the log ratio to π_t plus βα times the one to the base: a KL penalty to
    the base model *is* this opponent.

    The log-probs are not normalised: log Σ π_t^{1−α} π_ref^α ≤ 0 is left out. In losses of differences (`spin`,
    `renyi` on one prompt) it cancels; in losses of single log ratios (`spif`, `space`, `f-divergence`, `sppo`) it
    adds the same constant to every Δ of a prompt, which the policy, being normalised, cannot take back.

    Source: α-SPIN, arXiv 2404.04291, and Nash-MD, arXiv 2312.00886. Derived here, as α-SPIN's equations could not
    be read: samples come from π_t, not from the mixture, so the exact step of `spin` is
    log π_{t+1} = (1 − α − 1/β) log π_t + α log π_ref + (1/β) log π_E + const. It converges for β > 1/(2−α), to
    π_E^{1/(1+αβ)} π_ref^{αβ/(1+αβ)}: the anchor moves the fixed point off the expert, and steadies nothing, unless
    the samples come from the mixture as well, where β > (1−α)/(2−α) would do.

    Args:
        alpha: α in (0, 1), the share of the base model. The default 0.1 leaves the fixed point, at β = 1, about nine
            tenths of the way to the expert.

    Raises:
        ValueError: α is not between 0 and 1; the ends are the opponents `previous` and `base`.
    """

    alpha: float = 0.1

    def __post_init__(self) -> None:
        require_positive("alpha", self.alpha, "at α = 0 the mixture is the opponent `previous`")
        if self.alpha >= 1:
            raise ValueError(f"alpha must be below 1, got {self.alpha!r}: at α = 1 the mixture is the opponent `base`")

    def spec(self, iteration: int) -> OpponentSpec:
        """Policy t generates; policy t and the base model score."""
        return OpponentSpec(generators=(iteration,), scorers=(iteration, BASE))

    def combine(self, iteration: int, log_probs: Mapping[int, Tensor]) -> Tensor:
        """Log π_o, up to the constant of the normalisation."""
        return (1.0 - self.alpha) * log_probs[iteration] + self.alpha * log_probs[BASE]
