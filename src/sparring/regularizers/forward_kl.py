"""KL(π_ref‖π_θ): keeps the policy wherever the reference goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sparring.log_ratios import LogRatios
from sparring.registry import require_one_of
from sparring.regularizers.estimation import check, fields, penalty, reference_over_opponent
from sparring.types import ObjectiveOutput, Regularizer


@dataclass(frozen=True, kw_only=True)
class ForwardKl(Regularizer):
    """Penalises the forward KL from the reference, KL(π_ref‖π_θ), up to a constant, by samples of π_ref or of π_o.

    `samples="reference"`: mean_m −log π_θ(y_m), y_m ~ π_ref: supervised fine-tuning on the base model's answers. Its
    gradient is exact wherever the policy is; its value is the KL plus the constant entropy of π_ref.

    `samples="generated"`: mean_k e^{min(−δ_k, clip)}. Its gradient is that of the KL while π_θ = π_o, and biased
    after; its value is not the KL: it is 1 while π_θ = π_o. With `importance=True` the value is
    mean_k e^{min(Δ_k − δ_k, clip)} · (−δ_k): Δ − δ = log π_ref/π_o does not depend on the policy, so value and
    gradient are exact wherever Δ − δ < clip, at the price of weights π_ref/π_o.

    Source: RSPO, arXiv 2503.00030, for the penalty and its form on generated samples; the importance-weighted form
    and what is said of bias are derived here.

    Degenerate cases: above the clip a sample has no gradient (`generated`) or a constant weight (`importance`).

    Attributes:
        weight: λ.
        samples: `reference` or `generated`. The default needs samples of the base model, but no weights.
        importance: Whether generated samples are weighted by π_ref/π_o.
        clip: Cap of the exponents, nats.

    Raises:
        ValueError: λ or clip is out of range, `samples` is unknown, or reference samples are to be weighted.
    """

    weight: float
    samples: str = "reference"
    importance: bool = False
    clip: float = 10.0

    name: ClassVar[str] = "forward-kl"

    def __post_init__(self) -> None:
        check(self.weight, self.clip)
        require_one_of("samples", self.samples, ("reference", "generated"))
        if self.importance and self.samples == "reference":
            raise ValueError('importance needs samples="generated": samples of the reference are exact without weights')

    @property
    def requires(self) -> frozenset[str]:
        """Log π_θ of the reference samples, or δ of the generated ones, and their Δ with the importance weight."""
        if self.samples == "reference":
            return frozenset({"policy_reference"})
        return fields("reference_generated", importance=self.importance)

    @property
    def weighs_draws(self) -> bool:
        """See `importance`."""
        return self.importance

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """Weight × value per prompt `[B]`."""
        return penalty(self.name, self.weight, self._value(ratios))

    def _value(self, ratios: LogRatios) -> Tensor:
        if self.samples == "reference":
            return ratios.mean_over_reference(-ratios.require("policy_reference"))
        log_ratio = ratios.require("reference_generated")
        if not self.importance:
            return ratios.mean_over_samples((-log_ratio).clamp(max=self.clip).exp())
        return ratios.mean_over_samples(reference_over_opponent(ratios, self.clip) * -log_ratio)
