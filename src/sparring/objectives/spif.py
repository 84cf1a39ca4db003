"""SPIF: self-play imitation with a bounded reward, on the χ² variational objective."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from sparring.log_ratios import LogRatios
from sparring.objectives.rewards import implicit_rewards, require_stake, reward_metrics
from sparring.registry import require_positive
from sparring.types import Objective, ObjectiveOutput, StabilityNumber


@dataclass(frozen=True, kw_only=True)
class Spif(Objective):
    """Regression of the implicit reward on +R for the expert's response and on −R for generated ones.

    −[r_E − mean_k r_k − (r_E² + mean_k r_k²)/(2R)] with r = βΔ, which equals ((r_E − R)² + mean_k (r_k + R)²)/(2R) − R.
    Over free rewards the minimiser is r* = R(π_E − π_o)/(π_E + π_o) ∈ [−R, R], and −loss/R is then
    χ²(π_E ‖ ½(π_E + π_o)) ∈ [0, 1]; at any other reward `divergence_estimate` = −loss/R bounds it from below.

    Source: derived here. The algorithm is that of arXiv 2602.01357 (χ²-divergence, bounded rewards), whose equations
    we could not read; the form follows least-squares inverse reinforcement learning (LS-IQ, arXiv 2303.00599).

    Near the fixed point the step exponent is R/(2β): the exact iteration converges for 0 < R/β < 4, to third order at
    R/β = 2. The targets ±R aim at log ratios of R/β nats; beyond 4 the iteration cycles, with an error that was seen
    to stay bounded.

    Attributes:
        beta: β, the scale of the implicit reward r = βΔ.
        reward_bound: R, the bound of the optimal reward and the target of the regression.

    Raises:
        ValueError: β or R is not a finite positive number.
    """

    beta: float = 1.0
    reward_bound: float = 2.0

    requires: ClassVar[frozenset[str]] = frozenset({"expert", "generated"})

    def __post_init__(self) -> None:
        require_stake(self.beta)
        require_positive("reward_bound", self.reward_bound, "R bounds the optimal reward to [−R, R]")

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """The loss `[B]` and its metrics, with the share of rewards past ±R; see the class."""
        expert, generated = implicit_rewards(ratios, self.beta)
        # The bracketed form, not the sum of squares: near r = 0 the latter loses its digits against −R.
        squares = expert.square() + ratios.mean_over_samples(generated.square())
        loss = -(expert - ratios.mean_over_samples(generated) - squares / (2.0 * self.reward_bound))
        past_expert = (expert.detach().abs() > self.reward_bound).to(loss.dtype)
        past_generated = (generated.detach().abs() > self.reward_bound).to(loss.dtype)
        metrics = reward_metrics(ratios, expert, generated) | {
            "divergence_estimate": -loss.detach() / self.reward_bound,
            "rewards/past_bound": 0.5 * (past_expert + ratios.mean_over_samples(past_generated)),
        }
        return ObjectiveOutput(loss=loss, metrics=metrics)

    def optimum(self, density_ratios: LogRatios) -> LogRatios:
        """r* = R tanh(u/2) of the log density ratio u; see `Variational`."""
        scale = self.reward_bound / self.beta
        expert, generated = (density_ratios.require(side) for side in ("expert", "generated"))
        return replace(density_ratios, expert=scale * (0.5 * expert).tanh(), generated=scale * (0.5 * generated).tanh())

    @property
    def reach(self) -> float:
        """R/β: the targets ±R are reached there."""
        return self.reward_bound / self.beta

    @property
    def stability(self) -> StabilityNumber:
        """R/β and its step exponent R/(2β)."""
        ratio = self.reward_bound / self.beta
        return StabilityNumber(
            symbol="R/β", value=ratio, step_exponent=ratio / 2.0, cure="raise β or lower the reward bound"
        )
