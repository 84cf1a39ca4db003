"""−log π_θ of the expert: maximum likelihood beside the game."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sparring.log_ratios import LogRatios
from sparring.registry import require_positive
from sparring.regularizers.estimation import penalty
from sparring.types import ObjectiveOutput, Regularizer


@dataclass(frozen=True, kw_only=True)
class SftPenalty(Regularizer):
    """Maximum likelihood of the expert's response: weight × −log π_θ(y_E|x), as a sum or a mean over its tokens.

    Summed, value and gradient are those of KL(π_E‖π_θ) plus the expert's entropy, a constant, wherever the policy
    is: no weights are needed, since the samples are the expert's. Length-normalised it is the likelihood of a
    different expert, in which a response counts in inverse proportion to its length.

    Source: the negative log-likelihood term of RPO, arXiv 2404.19733 (there length-normalised), and of many others.

    Degenerate case: it pulls towards the demonstrations even where the game has its fixed point, so repeated over
    the same ones it memorises them.

    Attributes:
        weight: λ.
        length_normalized: Whether to divide by the response's length.

    Raises:
        ValueError: λ is not a finite positive number.
    """

    weight: float
    length_normalized: bool = False

    name: ClassVar[str] = "sft"

    def __post_init__(self) -> None:
        require_positive("weight", self.weight, "it scales the penalty; leave the regularizer out to have none")

    @property
    def requires(self) -> frozenset[str]:
        """Log π_θ of the expert response, and its length where that divides it."""
        return frozenset({"policy_expert", "expert_length"} if self.length_normalized else {"policy_expert"})

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """Weight × value per prompt `[B]`."""
        value = -ratios.require("policy_expert")
        if self.length_normalized:
            value = value / ratios.require("expert_length")
        return penalty(self.name, self.weight, value)
