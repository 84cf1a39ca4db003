"""χ²(π_θ‖π_ref): a leash that tightens exponentially with the log ratio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sparring.regularizers.estimation import check, fields, mean_under_policy, penalty
from sparring.types import LogRatios, ObjectiveOutput


@dataclass(frozen=True, kw_only=True)
class ChiSquared:
    """Weight × mean_k w_k (e^{min(δ_k, clip)} − 1), w = e^{min(Δ, clip)}: χ²(π_θ‖π_ref) = E_{π_θ}[π_θ/π_ref] − 1.

    With the importance weight it is exact in value and gradient wherever Δ and δ are below the clip. Without
    (`importance=False`, w = 1) the value is right while π_θ = π_o, and the gradient is then exactly half the right
    one, E[e^δ ∇log π_θ]: the same leash at half the weight; away from π_o both are biased.

    Source: RSPO, arXiv 2503.00030, for the penalty; what is said of bias is derived here.

    Degenerate cases: zero at π_θ = π_ref. A sample beyond both clips has no gradient, and e^δ of a long response
    spans many orders of magnitude: where δ may reach more than a few nats, `reverse-kl` is the safer leash.

    Args:
        weight: λ.
        importance: Whether samples are weighted by e^Δ; by default they are, for the right gradient.
        clip: Cap of both exponents, nats.

    Raises:
        ValueError: λ or clip is out of range.
    """

    weight: float
    importance: bool = True
    clip: float = 10.0

    name: ClassVar[str] = "chi-squared"

    def __post_init__(self) -> None:
        check(self.weight, self.clip)

    @property
    def requires(self) -> frozenset[str]:
        """δ of the generated samples, and their Δ with the importance weight."""
        return fields("reference_generated", importance=self.importance)

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """Weight × value per prompt `[B]`."""
        excess = ratios.require("reference_generated").clamp(max=self.clip).expm1()
        mean = mean_under_policy(ratios, excess, importance=self.importance, clip=self.clip)
        return penalty(self.name, self.weight, mean)
