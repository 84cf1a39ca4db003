"""The base model scores, the latest policy generates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from sparring.policies import BASE
from sparring.types import Opponent, OpponentSpec


@dataclass(frozen=True, kw_only=True)
class Base(Opponent):
    """The latest policy generates, and every log ratio is measured from the base model: log π_o = log π_ref.

    Source: the reference of iterative DPO; here an ablation. Scores and samples then belong to different policies, so
    an iteration no longer starts at Δ = 0: with `spin` the exact step is π_{t+1} ∝ π_ref (π_E/π_t)^{1/β}, whose error
    is multiplied by −1/β, and its fixed point is not the expert but π_E^{1/(1+β)} π_ref^{β/(1+β)} (derived here).

    Degenerate case: without a warm-up policy 0 is the base model, and iteration 0 is that of `previous`.
    """

    def spec(self, iteration: int) -> OpponentSpec:
        """Policy t generates, the base model scores."""
        return OpponentSpec(generators=(iteration,), scorers=(BASE,))

    def combine(self, iteration: int, log_probs: Mapping[int, Tensor]) -> Tensor:
        """Log π_o = log π_ref."""
        return log_probs[BASE]
