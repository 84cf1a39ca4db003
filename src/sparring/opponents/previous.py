"""The previous iterate: the opponent of SPIN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from sparring.types import Opponent, OpponentSpec


@dataclass(frozen=True, kw_only=True)
class Previous(Opponent):
    """The policy that the iteration starts from: π_o = π_t. Source: SPIN, arXiv 2401.01335."""

    def spec(self, iteration: int) -> OpponentSpec:
        """Policy t generates, and policy t scores."""
        return OpponentSpec(generators=(iteration,), scorers=(iteration,))

    def combine(self, iteration: int, log_probs: Mapping[int, Tensor]) -> Tensor:
        """Log π_o = log π_t."""
        return log_probs[iteration]
