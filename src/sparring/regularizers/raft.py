"""−log π_θ of the chosen samples: maximum likelihood of the policy's own best responses beside the game."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sparring.log_ratios import LogRatios
from sparring.preferred import chosen_weight
from sparring.regularizers.estimation import LikelihoodPenalty, penalty
from sparring.types import ObjectiveOutput


@dataclass(frozen=True, kw_only=True)
class RaftPenalty(LikelihoodPenalty):
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

    name: ClassVar[str] = "raft"
    compares_any_pair: ClassVar[bool] = True

    @property
    def requires(self) -> frozenset[str]:
        """Log π_θ of the generated samples and a judge's preferences, and their lengths where these divide."""
        return self.reads("generated") | {"preference"}

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """Weight × value per prompt `[B]`."""
        log_likelihood = self.log_likelihood(ratios, "generated")
        return penalty(self.name, self.weight, -(chosen_weight(ratios) * log_likelihood).sum(dim=-1))
