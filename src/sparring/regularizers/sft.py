"""−log π_θ of the expert: maximum likelihood beside the game."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sparring.log_ratios import LogRatios
from sparring.regularizers.estimation import LikelihoodPenalty, penalty
from sparring.types import ObjectiveOutput


@dataclass(frozen=True, kw_only=True)
class SftPenalty(LikelihoodPenalty):
    """Maximum likelihood of the expert's response: weight × −log π_θ(y_E|x), as a sum or a mean over its tokens.

    Summed, value and gradient are those of KL(π_E‖π_θ) plus the expert's entropy, a constant, wherever the policy
    is: no weights are needed, since the samples are the expert's. Length-normalised it is the likelihood of a
    different expert, in which a response counts in inverse proportion to its length.

    Source: the negative log-likelihood term of RPO, arXiv 2404.19733, with the expert's response in the place of the
    chosen one (there length-normalised), and of many others.

    Degenerate case: it pulls towards the demonstrations even where the game has its fixed point, so repeated over
    the same ones it memorises them.

    Attributes:
        weight: λ.
        length_normalized: Whether to divide by the response's length.

    Raises:
        ValueError: λ is not a finite positive number.
    """

    name: ClassVar[str] = "sft"

    @property
    def requires(self) -> frozenset[str]:
        """Log π_θ of the expert response, and its length where that divides it."""
        return self.reads("expert")

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """Weight × value per prompt `[B]`."""
        return penalty(self.name, self.weight, -self.log_likelihood(ratios, "expert"))
