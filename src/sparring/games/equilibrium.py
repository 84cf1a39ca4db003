"""Equilibria and exploitability of symmetric preference games, computed without any objective.

The game: both players pick a policy, the first is paid P(π ≻ π') − τR(π) + τR(π'), the second the opposite about ½.
R(π) = Σ π_ref φ(π/π_ref) is a divergence from the reference. P − ½ is skew and R strictly convex, so for τ > 0 the
game has one equilibrium, and it is symmetric.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from sparring.errors import RunError
from sparring.games.newton import find_root
from sparring.registry import require_one_of, require_positive


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """A divergence R(π) = Σ π_ref φ(u), u = π/π_ref.

    Attributes:
        value: φ.
        slope: φ'.
        curvature: φ''.
        inverse_slope: The u at which φ'(u) = s, as a function of s.
        highest: The supremum of φ', which takes every value below.
    """

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    curvature: Callable[[Tensor], Tensor]
    inverse_slope: Callable[[Tensor], Tensor]
    highest: float = float("inf")


DIVERGENCES: dict[str, Divergence] = {
    # KL(π‖π_ref)
    "reverse-kl": Divergence(
        value=lambda u: torch.xlogy(u, u),
        slope=lambda u: u.log() + 1.0,
        curvature=lambda u: 1.0 / u,
        inverse_slope=lambda s: (s - 1.0).exp(),
    ),
    # KL(π_ref‖π)
    "forward-kl": Divergence(
        value=lambda u: -u.log(),
        slope=lambda u: -1.0 / u,
        curvature=lambda u: u.pow(-2),
        inverse_slope=lambda s: -1.0 / s,
        highest=0.0,
    ),
    # χ²(π‖π_ref), whose best response may leave outcomes out altogether
    "chi-squared": Divergence(
        value=lambda u: (u - 1.0).square(),
        slope=lambda u: 2.0 * (u - 1.0),
        curvature=lambda u: torch.full_like(u, 2.0),
        inverse_slope=lambda s: (1.0 + 0.5 * s).clamp(min=0.0),
    ),
}


def exploitability(preference: Tensor, policies: Tensor) -> Tensor:
    """The exploitability max_y P(y ≻ π) − ½ of policies `[…, n]`: the best opponent's win rate less ½.

    NashConv of the symmetric pair (π, π) is twice that.
    """
    return (policies @ preference.T).amax(-1) - 0.5


def regularized_best_response(payoff: Tensor, reference: Tensor, tau: float, kind: str) -> Tensor:
    """The maximiser of Σ π payoff − τR(π): π_ref φ'⁻¹((payoff − ν)/τ), ν bisected until it sums to one; all `[n]`."""
    divergence = DIVERGENCES[kind]

    def respond(level: float) -> Tensor:
        return reference * divergence.inverse_slope((payoff - level) / tau)

    # φ'(1) at the highest payoff gives u ≤ 1 everywhere, at the lowest u ≥ 1: the sum crosses one in between.
    at_one = tau * float(divergence.slope(torch.ones(1, dtype=torch.float64)))
    low, high = float(payoff.min()) - at_one, float(payoff.max()) - at_one
    if divergence.highest < float("inf"):
        low = max(low, float(payoff.max()) - tau * divergence.highest)
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if float(respond(middle).sum()) > 1.0 else (low, middle)
    response = respond(high)
    return response / response.sum()


def regularized_exploitability(preference: Tensor, reference: Tensor, policy: Tensor, tau: float, kind: str) -> Tensor:
    """The gain of the best response to π `[n]` over π in the regularised game: zero at its equilibrium only."""
    divergence = DIVERGENCES[kind]

    def penalty(candidate: Tensor) -> Tensor:
        return tau * (reference * divergence.value(candidate / reference)).sum()

    payoff = preference @ policy
    best = regularized_best_response(payoff, reference, tau, kind)
    return (best @ payoff - penalty(best)) - (0.5 - penalty(policy))


def regularized_equilibrium(preference: Tensor, reference: Tensor, tau: float, kind: str) -> Tensor:
    """The unique policy `[n]` with τφ'(π/π_ref) − Pπ constant, by Newton's method on log π and the constant.

    τ starts large, where the equilibrium is near the reference, and is halved down to its value; each solution is the
    start of the next, since near the solution Newton's method converges quadratically.

    Raises:
        ValueError: τ is not positive, or the kind is unknown.
        RunError: The equilibrium leaves an outcome out (χ² at small τ), where log π does not exist.
    """
    require_positive("tau", tau, "at τ = 0 the equilibrium need not be unique")
    require_one_of("kind", kind, DIVERGENCES)
    ladder = [tau]
    while ladder[-1] < 4.0:
        ladder.append(2.0 * ladder[-1])
    point = torch.cat([reference.log(), torch.zeros(1, dtype=torch.float64)])
    for temperature in reversed(ladder):
        conditions = partial(_conditions, preference, reference, temperature, DIVERGENCES[kind])
        point, residual = find_root(conditions, point)
        if residual > 1e-11:
            raise RunError(
                f"no interior equilibrium found at τ = {temperature:g} (residual {residual:.1e}): "
                "under a χ² penalty a small τ leaves outcomes out altogether"
            )
    return point[:-1].exp()


def _conditions(
    preference: Tensor, reference: Tensor, tau: float, divergence: Divergence, point: Tensor
) -> tuple[Tensor, Tensor]:
    """The conditions of the equilibrium, zero where they hold, and their Jacobian, at the point (log π, ν) `[n+1]`.

    The residual is φ'(u) − Pπ/τ − ν for every outcome, and Σπ − 1.
    """
    n, policy, level = len(reference), point[:-1].exp(), point[-1:]
    ratio = policy / reference
    stationarity = divergence.slope(ratio) - preference @ policy / tau - level
    jacobian = torch.zeros(n + 1, n + 1, dtype=torch.float64)
    jacobian[:n, :n] = torch.diag(divergence.curvature(ratio) * ratio) - preference * policy / tau
    jacobian[:n, n] = -1.0
    jacobian[n, :n] = policy
    return torch.cat([stationarity, policy.sum().reshape(1) - 1.0]), jacobian
