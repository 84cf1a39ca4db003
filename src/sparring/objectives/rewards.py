"""The implicit reward r = βΔ, and the metrics of it that every imitation objective reports."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sparring.registry import require_positive

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.log_ratios import LogRatios


def require_stake(beta: float, reward: str = "the implicit reward βΔ") -> None:
    """Raises ValueError unless β, the scale of the reward, is a finite number above zero."""
    require_positive("beta", beta, f"β scales {reward}; at β ≤ 0 the game has no stake")


def implicit_rewards(ratios: LogRatios, beta: float) -> tuple[Tensor, Tensor]:
    """The implicit rewards of the expert response `[B]` and of the generated ones `[B, K]`, differentiable."""
    return beta * ratios.require("expert"), beta * ratios.require("generated")


def density_ratio_rewards(density_ratios: LogRatios, beta: float) -> LogRatios:
    """The log ratios whose reward βΔ is the log density ratio itself: the optimum of many bounds, see `Variational`."""
    expert, generated = (density_ratios.require(side) for side in ("expert", "generated"))
    return replace(density_ratios, expert=expert / beta, generated=generated / beta)


def reward_metrics(ratios: LogRatios, expert: Tensor, generated: Tensor) -> dict[str, Tensor]:
    """The metrics that SPIN logs, from the rewards `[B]` and `[B, K]`; `[B]` each, detached.

    `rewards/expert`, `rewards/generated` (mean over k), `rewards/margins` (their difference) and
    `rewards/accuracies` (the share of generated responses that the expert's reward exceeds).
    """
    expert, generated = expert.detach(), generated.detach()
    mean_generated = ratios.mean_over_samples(generated)
    won = (expert.unsqueeze(-1) > generated).to(expert.dtype)
    return {
        "rewards/expert": expert,
        "rewards/generated": mean_generated,
        "rewards/margins": expert - mean_generated,
        "rewards/accuracies": ratios.mean_over_samples(won),
    }
