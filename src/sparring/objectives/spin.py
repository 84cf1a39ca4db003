"""SPIN: a pairwise game between the expert's and the opponent's responses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from sparring.log_ratios import LogRatios
from sparring.objectives.rewards import implicit_rewards, require_stake, reward_metrics
from sparring.registry import require_one_of
from sparring.types import Objective, ObjectiveOutput, StabilityNumber

_LINEAR_FROM = -50.0


def _exponential(t: Tensor) -> Tensor:
    """e^−t, continued by its tangent below t = −50, so that it and its gradient stay finite in fp32."""
    inside = t.clamp(min=_LINEAR_FROM)
    return torch.exp(-inside) * (1.0 + (inside - t))


@dataclass(frozen=True)
class _Link:
    """A link ℓ(t), and the divergence that `offset − scale · loss` bounds from below; see `_LINKS`.

    Attributes:
        loss: ℓ.
        slope: ℓ'(0).
        curvature: ℓ''(0).
        offset: The offset of the bound; None where the loss bounds no divergence.
        scale: The scale of the bound.
        optimum: The t that reaches the bound, as a function of log P/Q.
    """

    loss: Callable[[Tensor], Tensor]
    slope: float
    curvature: float
    offset: float | None = None
    scale: float = 1.0
    optimum: Callable[[Tensor], Tensor] | None = None


# With P = π_E ⊗ π_o and Q = π_o ⊗ π_E, minimising ℓ over free antisymmetric t(y, y') point by point gives:
#   logistic     log 2 − loss  → Jensen–Shannon(P, Q)               at t = log P/Q
#   hinge        1 − loss      → total variation(P, Q)              at t = sign(P − Q)
#   exponential  1 − loss      → squared Hellinger ½Σ(√P − √Q)²     at t = ½ log P/Q
#   squared      1 − 2 loss    → χ²(P ‖ ½(P + Q))                   at t = (P − Q)/(P + Q)
# A linear link bounds no divergence: its supremum is infinite. An implicit reward makes t a difference of rewards; the
# optima of the logistic and exponential links are such differences, so those bounds are reached, while those of the
# hinge and squared links are not for n > 2 outcomes, so theirs stay bounds.
_LINKS: dict[str, _Link] = {
    "logistic": _Link(
        lambda t: functional.softplus(-t), slope=-0.5, curvature=0.25, offset=math.log(2.0), optimum=lambda t: t
    ),
    "hinge": _Link(lambda t: functional.relu(1.0 - t), slope=-1.0, curvature=0.0, offset=1.0, optimum=torch.sign),
    "exponential": _Link(_exponential, slope=-1.0, curvature=1.0, offset=1.0, optimum=lambda t: 0.5 * t),
    "linear": _Link(lambda t: -t, slope=-1.0, curvature=0.0),
    "squared": _Link(
        lambda t: 0.5 * (t - 1.0).square(),
        slope=-1.0,
        curvature=1.0,
        offset=1.0,
        scale=2.0,
        optimum=lambda t: (0.5 * t).tanh(),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Spin(Objective):
    """Tells the expert's response from each generated one, pair by pair: mean_k ℓ(β(Δ_E − Δ_k)).

    Source: SPIN, arXiv 2401.01335, equation 4.7 and the links of its section 4.1; λ there is β here.

    `divergence_estimate` is the lower bound on a divergence between the pair distributions π_E ⊗ π_o and
    π_o ⊗ π_E that the loss certifies; the Jensen–Shannon divergence for the logistic link (see `_LINKS`).

    Near the fixed point the exact best response is π_{t+1} ∝ π_t (π_E/π_t)^e, e = −ℓ'(0)/(2βℓ''(0)): for the
    logistic link e = 1/β, so the iteration converges for β > ½, in one step at β = 1, and diverges for β < ½.
    The published β = 0.1 therefore relies on stopping each iteration early. The hinge and linear links have no
    curvature at 0: their step does not shrink with the error.

    Attributes:
        beta: β, the scale of the implicit reward r = βΔ.
        link: ℓ: `logistic` log(1 + e^−t), `hinge` max(0, 1 − t), `exponential` e^−t (its tangent below
            t = −50), `linear` −t, `squared` (t − 1)²/2.

    Raises:
        ValueError: β is not a finite positive number, or the link is unknown.
    """

    beta: float = 1.0
    link: str = "logistic"

    requires: ClassVar[frozenset[str]] = frozenset({"expert", "generated"})

    def __post_init__(self) -> None:
        require_stake(self.beta)
        require_one_of("link", self.link, _LINKS)

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """The loss `[B]` and its metrics; see the class."""
        expert, generated = implicit_rewards(ratios, self.beta)
        link = _LINKS[self.link]
        loss = ratios.mean_over_samples(link.loss(expert.unsqueeze(-1) - generated))
        metrics = reward_metrics(ratios, expert, generated)
        if link.offset is not None:
            metrics["divergence_estimate"] = link.offset - link.scale * loss.detach()
        return ObjectiveOutput(loss=loss, metrics=metrics)

    def optimum(self, density_ratios: LogRatios) -> LogRatios:
        """The margins at which the bound is reached, pair by pair: t*(u_E − u_k); see `Variational`.

        There may be no reward whose differences they are. So Δ = 0 stands for the expert, and Δ = −t*/β for each
        generated response.
        """
        optimum = _LINKS[self.link].optimum
        if optimum is None:
            raise ValueError(f"the link '{self.link}' bounds no divergence")
        expert, generated = (density_ratios.require(side) for side in ("expert", "generated"))
        margins = optimum(expert.unsqueeze(-1) - generated)
        return replace(density_ratios, expert=torch.zeros_like(expert), generated=-margins / self.beta)

    @property
    def stability(self) -> StabilityNumber:
        """β and its step exponent −ℓ'(0)/(2βℓ''(0))."""
        link = _LINKS[self.link]
        if link.curvature == 0.0:
            curved = ", ".join(name for name, each in _LINKS.items() if each.curvature > 0.0)
            cure = f"take a link that is curved at 0 ({curved})"
            return StabilityNumber(symbol="β", value=self.beta, step_exponent=math.inf, cure=cure)
        exponent = -link.slope / (2.0 * self.beta * link.curvature)
        return StabilityNumber(symbol="β", value=self.beta, step_exponent=exponent, cure="raise β")
