"""−log π_θ of the chosen samples: maximum likelihood of the policy's own best responses beside the game."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sparring.log_ratios import LogRatios
from sparring.preferred import chosen_weight
from sparring.registry import require_positive
from sparring.regularizers.estimation import penalty
from sparring.types import ObjectiveOutput, Regularizer


@dataclass(frozen=True, kw_only=True)
class RaftPenalty(Regularizer):
    """Maximum likelihood of the samples that a judge prefers: weight × −Σ_k b_k log π_θ(y_k|x), summed or a token.

    b is uniform over the samples with the highest P(y ≻ π_o), as in the objective `raft`, and zero where all tie.
    Summed, value and gradient are those of KL(π_b‖π_θ) plus the entropy of π_b, a constant, where π_b is π_o restricted
    to its best responses, wherever the policy is. A loss on differences, as that of `dpo`, may lower the chosen
    response as long as the rejected one falls further; this holds it up.

    Source: the negative log-likelihood term of iterative RPO, arXiv 2404.19733, beside `dpo`; there length-normalised
    with a weight of 1.

    Degenerate case: what the judge prefers by mistake is imitated too.

    Attributes:
        weight: λ.
        length_normalized: Whether to divide by each response's length.

    Raises:
        ValueError: λ is not a finite positive number.
    """

    weight: float
    length_normalized: bool = False

    name: ClassVar[str] = "raft"
    compares_any_pair: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_positive("weight", self.weight, "it scales the penalty; leave the regularizer out to have none")

    @property
    def requires(self) -> frozenset[str]:
        """Log π_θ of the generated samples and a judge's preferences, and their lengths where these divide."""
        read = {"policy_generated", "preference"}
        return frozenset(read | {"generated_length"} if self.length_normalized else read)

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """Weight × value per prompt `[B]`."""
        log_policy = ratios.require("policy_generated")
        if self.length_normalized:
            log_policy = log_policy / ratios.require("generated_length")
        return penalty(self.name, self.weight, -(chosen_weight(ratios) * log_policy).sum(dim=-1))
