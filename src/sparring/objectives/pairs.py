"""Losses on a chosen and a rejected sample of a prompt: which pairs count, and which metrics are reported.

Such an objective derives from `PairObjective` and defines the reward, and the loss of a margin.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparring.log_ratios import LogRatios
from sparring.preferred import best_and_worst
from sparring.registry import require_one_of
from sparring.types import Objective, ObjectiveOutput

PAIRS = ("best-worst", "all")
"""`best-worst`: the sample with the highest P(y ≻ π_o) is chosen, the one with the lowest rejected; samples that tie
share a place, so where all tie none is preferred. `all`: every pair of samples, in expectation over two draws of π_o
and a verdict of the judge."""


@dataclass(frozen=True, kw_only=True)
class PairObjective(Objective):
    """A loss on the margins between chosen and rejected samples, whoever wrote them: Σ_ij ω_ij link(r_i − r_j).

    ω_ij is the probability that i is the chosen sample and j the rejected one.

    Attributes:
        pairs: Which pairs count; see `PAIRS`.
        reads: The fields of `LogRatios` that the reward is computed from.
    """

    pairs: str = "best-worst"

    compares_any_pair: ClassVar[bool] = True
    reads: ClassVar[frozenset[str]] = frozenset({"generated"})

    def __post_init__(self) -> None:
        require_one_of("pairs", self.pairs, PAIRS)

    @property
    def requires(self) -> frozenset[str]:
        """The fields that the reward is computed from, and the preferences."""
        return self.reads | {"pairwise" if self.pairs == "all" else "preference"}

    @abstractmethod
    def reward(self, ratios: LogRatios) -> Tensor:
        """`[B, K]` r, differentiable."""
        ...

    @abstractmethod
    def link(self, margin: Tensor) -> Tensor:
        """The loss of margins r_w − r_l, elementwise."""
        ...

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """The loss `[B]`, and metrics of the rewards, `[B]` each.

        `rewards/chosen` and `rewards/rejected` (means), `rewards/margins`, and `rewards/accuracies` (how often the
        chosen sample's reward is the larger one; equal is half).
        """
        weight, reward = _pair_weights(ratios, self.pairs), self.reward(ratios)
        margin = reward.unsqueeze(-1) - reward.unsqueeze(-2)
        loss = (weight * self.link(margin)).sum(dim=(-2, -1))
        reward, margin = reward.detach(), margin.detach()
        chosen, rejected = (weight.sum(-1) * reward).sum(-1), (weight.sum(-2) * reward).sum(-1)
        metrics = {
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
            "rewards/margins": chosen - rejected,
            "rewards/accuracies": (weight * 0.5 * (1.0 + margin.sign())).sum(dim=(-2, -1)),
        }
        return ObjectiveOutput(loss=loss, metrics=metrics)

    def samples_read(self, judged: LogRatios) -> Tensor:
        """The samples that are in a pair which counts."""
        weight = _pair_weights(judged, self.pairs)
        return (weight > 0).any(dim=-1) | (weight > 0).any(dim=-2)


def _pair_weights(ratios: LogRatios, pairs: str) -> Tensor:
    """ω `[B, K, K]`, which sums to one over the pairs."""
    if pairs == "best-worst":
        best, worst = best_and_worst(ratios)
        return best.unsqueeze(-1) * worst.unsqueeze(-2)
    pairwise = ratios.require("pairwise")
    weight = ratios.generated_weight
    if weight is None:
        weight = torch.full_like(pairwise[..., 0], 1.0 / pairwise.shape[-1])
    # Two draws, in either order: Σ_ij w_i w_j P_ij = ½ because P_ij + P_ji = 1.
    return 2.0 * weight.unsqueeze(-1) * weight.unsqueeze(-2) * pairwise
