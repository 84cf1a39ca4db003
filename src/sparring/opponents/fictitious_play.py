"""The average of past policies: fictitious play."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sparring.registry import require_one_of
from sparring.types import Opponent, OpponentSpec


@dataclass(frozen=True, kw_only=True)
class FictitiousPlay(Opponent):
    """The uniform mixture of the last h policies, π_{t−h+1} … π_t, which generate in equal shares.

    `arithmetic`: log π_o = log mean_i π_i, the distribution that the samples really have. `geometric`: log π_o = mean_i
    log π_i, while the samples keep the distribution of the arithmetic mixture. It is not normalised: the missing
    log Σ exp ≤ 0 cancels in losses of differences only.

    A new policy moves π_o by 1/h only, which damps the overshooting that the latest policy alone would cause. To first
    order in the error e of log π the exact iteration of `spin` is e_{t+1} = (1 − 1/β) mean_i e_i, for both mixtures: it
    converges for β > 1/(h+1), where h = 1 needs β > ½; over all policies it converges for every β, the error of π_o
    falling as t^{−1/β}, after a transient that is large where β is small (derived here). At β ≥ 1 nothing is gained.
    From far away the geometric mixture was seen to converge more slowly.

    Source: α-SPIN, arXiv 2404.04291, section on fictitious play, read in its abstract; the forms are derived here.

    Degenerate case: at iteration 0, or with h = 1, it is the opponent `previous`.

    Attributes:
        history: h, how many policies back, at least 1; None for all of them. Each of them scores the new samples, so
            h costs h forward passes an iteration.
        mixture: `arithmetic` or `geometric`. The default is the one whose scores and samples agree.

    Raises:
        ValueError: h is not an integer of at least 1, or the mixture is unknown.
    """

    history: int | None = None
    mixture: str = "arithmetic"

    def __post_init__(self) -> None:
        whole = isinstance(self.history, int) and not isinstance(self.history, bool)
        if self.history is not None and (not whole or self.history < 1):
            raise ValueError(
                f"history must be an integer of at least 1, or null for all policies, got {self.history!r}"
            )
        require_one_of("mixture", self.mixture, ("arithmetic", "geometric"))

    def spec(self, iteration: int) -> OpponentSpec:
        """The last h policies, which all generate and all score."""
        policies = self._policies(iteration)
        return OpponentSpec(generators=policies, scorers=policies)

    def combine(self, iteration: int, log_probs: Mapping[int, Tensor]) -> Tensor:
        """Log of the mean, or mean of the logs, over those policies."""
        policies = self._policies(iteration)
        stacked = torch.stack([log_probs[policy] for policy in policies])
        if self.mixture == "geometric":
            return stacked.mean(dim=0)
        return stacked.logsumexp(dim=0) - math.log(len(policies))

    def _policies(self, iteration: int) -> tuple[int, ...]:
        first = 0 if self.history is None else max(0, iteration - self.history + 1)
        return tuple(range(first, iteration + 1))
