"""The implicit reward r = βΔ, and what every imitation objective reports about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.types import LogRatios


def implicit_rewards(ratios: LogRatios, beta: float) -> tuple[Tensor, Tensor]:
    """The implicit rewards of the expert response `[B]` and of the generated ones `[B, K]`, differentiable."""
    return beta * ratios.require("expert"), beta * ratios.require("generated")


def reward_metrics(ratios: LogRatios, beta: float) -> dict[str, Tensor]:
    """SPIN's logged values, `[B]` each, detached.

    `rewards/expert`, `rewards/generated` (mean over k), `rewards/margins` (their difference) and
    `rewards/accuracies` (the share of generated responses that the expert's reward exceeds).
    """
    expert, generated = (reward.detach() for reward in implicit_rewards(ratios, beta))
    mean_generated = ratios.mean_over_samples(generated)
    won = (expert.unsqueeze(-1) > generated).to(expert.dtype)
    return {
        "rewards/expert": expert,
        "rewards/generated": mean_generated,
        "rewards/margins": expert - mean_generated,
        "rewards/accuracies": ratios.mean_over_samples(won),
    }
