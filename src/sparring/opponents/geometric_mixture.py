"""The geometric mixture of the latest policy and the base model: the opponent of α-SPIN and Nash-MD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from sparring.policies import BASE
from sparring.registry import require_one_of, require_positive
from sparring.types import Opponent, OpponentSpec


@dataclass(frozen=True, kw_only=True)
class GeometricMixture(Opponent):
    """The geometric mixture of the latest policy and the base model: log π_o = (1−α) log π_t + α log π_ref.

    Samples are drawn from π_t or from the mixture. βΔ against this opponent is β(1−α) times the log ratio to π_t plus
    βα times the one to the base: a KL penalty to the base model *is* this opponent.

    The log-probs in Δ are not normalised: log Σ π_t^{1−α} π_ref^α ≤ 0 is left out. In losses of differences (`spin`,
    `renyi` on one prompt) it cancels; in losses of single log ratios (`spif`, `space`, `f-divergence`, `sppo`) it
    adds the same constant to every Δ of a prompt, which the policy, being normalised, cannot take back.

    Samples of the mixture are drawn token by token, from π_t(·|y_<i)^{1−α} π_ref(·|y_<i)^α / Z(y_<i). A response then
    has the log-prob (1−α) log π_t + α log π_ref − Σ_i log Z(y_<i). That sum differs from response to response, so for
    more than one token the samples are not quite those of the log π_o in Δ; as −log Z is of second order in
    log π_t − log π_ref, the two agree to first order. For one token, as in the exact games, they agree but for the
    constant above.

    Source: α-SPIN, arXiv 2404.04291, and Nash-MD, arXiv 2312.00886, which samples from the mixture. Derived here, as
    α-SPIN's equations could not be read, the exact step of `spin`, up to a constant, with responses of one token:

    - samples from π_t: log π_{t+1} = (1 − α − 1/β) log π_t + α log π_ref + (1/β) log π_E. It converges for
      β > 1/(2−α), to π_E^{1/(1+αβ)} π_ref^{αβ/(1+αβ)}: the anchor moves the fixed point off the expert, and steadies
      nothing.
    - samples from the mixture: log π_{t+1} = (1 − 1/β)[(1−α) log π_t + α log π_ref] + (1/β) log π_E. The error's
      factor is (1−α)|1 − 1/β|, so it converges for β > (1−α)/(2−α), to π_E^{1/c} π_ref^{1−1/c}, c = 1 + α(β−1): at
      β = 1 the expert itself, in one step.

    Attributes:
        alpha: α in (0, 1), the share of the base model. The default 0.1 leaves the fixed point of samples from π_t, at
            β = 1, about nine tenths of the way to the expert.
        samples: What is sampled: `policy` or `mixture`. The mixture is what theory prefers; it costs a forward pass of
            the base model for every token, with a cache of its own. With LoRA the base model is the same model with its
            adapter off, else it is in memory beside the policy while it generates. The default costs nothing.

    Raises:
        ValueError: α is not between 0 and 1 (the ends are the opponents `previous` and `base`), or `samples` is
            unknown.
    """

    alpha: float = 0.1
    samples: str = "policy"

    def __post_init__(self) -> None:
        require_positive("alpha", self.alpha, "at α = 0 the mixture is the opponent `previous`")
        if self.alpha >= 1:
            raise ValueError(f"alpha must be below 1, got {self.alpha!r}: at α = 1 the mixture is the opponent `base`")
        require_one_of("samples", self.samples, ("policy", "mixture"))

    def spec(self, iteration: int) -> OpponentSpec:
        """Policy t generates, perhaps mixed with the base model; both score."""
        share = self.alpha if self.samples == "mixture" else 0.0
        return OpponentSpec(generators=(iteration,), scorers=(iteration, BASE), base_share=share)

    def combine(self, iteration: int, log_probs: Mapping[int, Tensor]) -> Tensor:
        """Log π_o, up to the constant of the normalisation."""
        return (1.0 - self.alpha) * log_probs[iteration] + self.alpha * log_probs[BASE]
