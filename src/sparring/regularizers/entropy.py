"""−H(π_θ): keeps the policy's answers varied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sparring.log_ratios import LogRatios
from sparring.regularizers.estimation import check, fields, mean_under_policy, penalty
from sparring.types import ObjectiveOutput, Regularizer


@dataclass(frozen=True, kw_only=True)
class Entropy(Regularizer):
    """Keeps the policy's entropy up: weight × mean_k w_k log π_θ(y_k), w = e^{min(Δ, clip)}, which estimates −H(π_θ).

    With the importance weight it is exact in value and gradient wherever Δ < clip. Without (`importance=False`, w = 1)
    the value is right while π_θ = π_o, but the expected gradient is then zero: it is noise, and later lowers the
    probability of whatever the opponent samples.

    Source: the policy-gradient identity; what is said of bias is derived here.

    Degenerate cases: long responses have more entropy, so the penalty also rewards length. Above Δ = clip the weight
    is constant, and the sample is pushed back down to it.

    Attributes:
        weight: λ.
        importance: Whether samples are weighted by e^Δ; by default they are, since without it there is no signal.
        clip: Cap of the exponent, nats.

    Raises:
        ValueError: λ or clip is out of range.
    """

    weight: float
    importance: bool = True
    clip: float = 10.0

    name: ClassVar[str] = "entropy"

    def __post_init__(self) -> None:
        check(self.weight, self.clip)

    @property
    def requires(self) -> frozenset[str]:
        """Log π_θ of the generated samples, and their Δ with the importance weight."""
        return fields("policy_generated", importance=self.importance)

    @property
    def weighs_draws(self) -> bool:
        """See `importance`."""
        return self.importance

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """Weight × value per prompt `[B]`."""
        log_policy = ratios.require("policy_generated")
        mean = mean_under_policy(ratios, log_policy, importance=self.importance, clip=self.clip)
        return penalty(self.name, self.weight, mean)
