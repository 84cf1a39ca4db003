"""SPACE: noise-contrastive self-play, each response judged by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch.nn import functional

from sparring.log_ratios import LogRatios
from sparring.objectives.rewards import density_ratio_rewards, implicit_rewards, require_stake, reward_metrics
from sparring.registry import require_positive
from sparring.types import Objective, ObjectiveOutput, StabilityNumber


@dataclass(frozen=True, kw_only=True)
class Space(Objective):
    """Classification of single responses as the expert's or generated, at the prior odds 1 : μ.

    −log σ_μ(r_E) − μ mean_k log σ_{1/μ}(−r_k), with σ_μ(t) = 1/(1 + μe^−t) and r = βΔ. Over free rewards the minimiser
    is r* = log π_E/π_o for every μ. With M = (π_E + μπ_o)/(1 + μ),
    `divergence_estimate` = [log(1+μ) + μ log((1+μ)/μ) − loss]/(1+μ) bounds the weighted Jensen–Shannon divergence
    [KL(π_E‖M) + μ KL(π_o‖M)]/(1+μ) from below; at μ = 1 it is (2 log 2 − loss)/2.

    Source: SPACE, arXiv 2512.07175, as its published description gives it (there β = 1); the divergence for
    μ ≠ 1 is derived here.

    Near the fixed point the step exponent is 1/β: the exact iteration converges for β > ½, in one step at β = 1.

    Attributes:
        beta: β, the scale of the implicit reward r = βΔ.
        mu: μ, the ratio of noise to data: how many generated responses there are to one expert response. The loss
            weighs the mean over the K samples by μ, so a published μ > 1 goes with `samples_per_prompt` K = μ.

    Raises:
        ValueError: β or μ is not a finite positive number.
    """

    beta: float = 1.0
    mu: float = 1.0

    requires: ClassVar[frozenset[str]] = frozenset({"expert", "generated"})

    def __post_init__(self) -> None:
        require_stake(self.beta)
        require_positive("mu", self.mu, "μ weighs the generated responses; without them there is no game")

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """The loss `[B]` and its metrics; see the class."""
        expert, generated = implicit_rewards(ratios, self.beta)
        log_mu = math.log(self.mu)
        # −log σ_μ(t) = softplus(log μ − t): finite at any t.
        against = ratios.mean_over_samples(functional.softplus(generated - log_mu))
        loss = functional.softplus(log_mu - expert) + self.mu * against
        chance = math.log1p(self.mu) + self.mu * math.log1p(1.0 / self.mu)
        metrics = reward_metrics(ratios, expert, generated) | {
            "divergence_estimate": (chance - loss.detach()) / (1.0 + self.mu)
        }
        return ObjectiveOutput(loss=loss, metrics=metrics)

    def optimum(self, density_ratios: LogRatios) -> LogRatios:
        """r* = u, for every μ; see `Variational`."""
        return density_ratio_rewards(density_ratios, self.beta)

    @property
    def stability(self) -> StabilityNumber:
        """β and its step exponent 1/β."""
        return StabilityNumber(symbol="β", value=self.beta, step_exponent=1.0 / self.beta, cure="raise β")
