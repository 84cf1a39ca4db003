"""The variational bound of an f-divergence, with the log ratio as the log density ratio."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from sparring.log_ratios import LogRatios
from sparring.objectives.rewards import density_ratio_rewards, implicit_rewards, require_stake, reward_metrics
from sparring.registry import require_one_of
from sparring.types import Objective, ObjectiveOutput, StabilityNumber

_LINEAR_FROM = 20.0
_Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Divergence:
    """The functions of r that the bound with a convex f is made of.

    Attributes:
        witness: T(r) = f'(e^r).
        slope: T'(r).
        conjugate: f*(T(r)) = e^r f'(e^r) − f(e^r); its derivative is e^r T'(r).
    """

    witness: _Function
    slope: _Function
    conjugate: _Function


# Each f is normalised to f(1) = f'(1) = 0 by adding a multiple of u − 1, which changes neither the divergence nor the
# loss; then no term cancels against a constant near r = 0. With u = e^r the density ratio π_E/π_o:
#   kl                 u log u − u + 1                      KL(π_E‖π_o)
#   reverse_kl         u − 1 − log u                        KL(π_o‖π_E)
#   js                 ½[u log u − (1+u) log((1+u)/2)]      ½KL(π_E‖M) + ½KL(π_o‖M), M = ½(π_E + π_o)
#   pearson            (u − 1)²                             Σ (π_E − π_o)²/π_o
#   neyman             (1 − u)²/u                           Σ (π_E − π_o)²/π_E
#   squared_hellinger  ½(√u − 1)²                           ½Σ (√π_E − √π_o)²
_DIVERGENCES: dict[str, _Divergence] = {
    "kl": _Divergence(lambda r: r, torch.ones_like, torch.expm1),
    "reverse_kl": _Divergence(lambda r: -torch.expm1(-r), lambda r: torch.exp(-r), lambda r: r),
    "js": _Divergence(
        lambda r: 0.5 * (math.log(2.0) - functional.softplus(-r)),
        lambda r: 0.5 * torch.sigmoid(-r),
        lambda r: 0.5 * (functional.softplus(r) - math.log(2.0)),
    ),
    "pearson": _Divergence(
        lambda r: 2.0 * torch.expm1(r), lambda r: 2.0 * torch.exp(r), lambda r: torch.expm1(2.0 * r)
    ),
    "neyman": _Divergence(
        lambda r: -torch.expm1(-2.0 * r), lambda r: 2.0 * torch.exp(-2.0 * r), lambda r: -2.0 * torch.expm1(-r)
    ),
    "squared_hellinger": _Divergence(
        lambda r: -0.5 * torch.expm1(-0.5 * r),
        lambda r: 0.25 * torch.exp(-0.5 * r),
        lambda r: 0.5 * torch.expm1(0.5 * r),
    ),
}


@dataclass(frozen=True, kw_only=True)
class FDivergence(Objective):
    """Minus the variational lower bound on an f-divergence: −T(r_E) + mean_k f*(T(r_k)), T(r) = f'(e^r), r = βΔ.

    D_f(π_E‖π_o) = E_o[f(π_E/π_o)] = sup_T E_E[T] − E_o[f*(T)], reached at T = f'(π_E/π_o). With T written as f'(e^r) it
    is in the domain of f* at any r, and the optimum is r* = log π_E/π_o for every f. `divergence_estimate` = −loss
    bounds D_f from below.

    Source: f-GAN, arXiv 1606.00709, for the bound; T as a function of the log ratio, the continuation and the
    stability are derived here. `js` is ½ of SPACE's loss at μ = 1, up to a constant; JS and squared Hellinger are
    normalised to at most log 2 and 1.

    At β = 1 the optimum is a normalised log ratio: a policy attains it, the bound is tight, and the best response is
    the expert itself, in one step. For other β it is so to first order in the distance: the step exponent is 1/β for
    every f, and the exact iteration converges for β > ½.

    Degenerate case: where |r| > 20 nats both terms go on by their tangents, so that value and gradient stay finite in
    fp32 at 1e4 nats. That moves no optimum with |log π_E/π_o| < 20, but the bound no longer holds there.

    Attributes:
        beta: β, the scale of the implicit reward r = βΔ.
        divergence: f: `kl`, `reverse_kl`, `js`, `pearson`, `neyman`, `squared_hellinger`. The default, `js`, is the
            one whose gradient is bounded on every sample; the exponents of the others make single samples dominate,
            generated ones for `kl` and `pearson`, the expert's for `reverse_kl` and `neyman`.

    Raises:
        ValueError: β is not a finite positive number, or the divergence is unknown.
    """

    beta: float = 1.0
    divergence: str = "js"

    requires: ClassVar[frozenset[str]] = frozenset({"expert", "generated"})

    def __post_init__(self) -> None:
        require_stake(self.beta)
        require_one_of("divergence", self.divergence, _DIVERGENCES)

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """The loss `[B]` and its metrics; see the class."""
        expert, generated = implicit_rewards(ratios, self.beta)
        chosen = _DIVERGENCES[self.divergence]
        witness = _continued(chosen.witness, chosen.slope, expert)
        conjugate = _continued(chosen.conjugate, lambda r: torch.exp(r) * chosen.slope(r), generated)
        loss = ratios.mean_over_samples(conjugate) - witness
        metrics = reward_metrics(ratios, expert, generated) | {"divergence_estimate": -loss.detach()}
        return ObjectiveOutput(loss=loss, metrics=metrics)

    def optimum(self, density_ratios: LogRatios) -> LogRatios:
        """r* = u, for every f; exact where |u| < 20 nats on all samples, see the degenerate case."""
        return density_ratio_rewards(density_ratios, self.beta)

    @property
    def stability(self) -> StabilityNumber:
        """β and its step exponent 1/β."""
        return StabilityNumber(symbol="β", value=self.beta, step_exponent=1.0 / self.beta, cure="raise β")


def _continued(function: _Function, slope: _Function, r: Tensor) -> Tensor:
    """The function, continued by its tangents where |r| > 20."""
    inside = r.clamp(min=-_LINEAR_FROM, max=_LINEAR_FROM)
    return function(inside) + slope(inside) * (r - inside)
