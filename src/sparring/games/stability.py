"""The contraction of the exact iteration near its fixed point: by formula, or by differentiating it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from sparring.errors import RunError
from sparring.games.imitation import ImitationGame
from sparring.games.newton import Function
from sparring.games.players import ExactGame, expected_loss, from_odds, to_odds
from sparring.log_ratios import PREFERENCE_FIELDS
from sparring.types import Objective, StabilityNumber

_NUDGE = 1e-6  # nats
_KINK = 1e-2  # jump of the slope's derivative, as a share of it; a smooth loss has at most a nudge's worth
_FLAT = 1e-13  # curvature, of either sign, that rounding makes of none


class NoFixedPointError(RunError):
    """The policy at which the iteration should be differentiated is no fixed point of it, or the loss has a kink."""


def stability(objective: Objective) -> StabilityNumber | None:
    """The stability number of an objective's exact self-play iteration against the previous policy.

    The objective's own formula where it has one, else `contraction_factor` in a fixed game of four outcomes. None
    where the expert is no fixed point: for preference objectives, which imitate nobody, for `t-spin`, and where a
    penalty on the distance from a reference is added; and where the loss or its slope has a kink there, or is flat. The
    step exponent is infinite where the loss has no curvature there.
    """
    found = stability_or_reason(objective)
    return found if isinstance(found, StabilityNumber) else None


def stability_or_reason(objective: Objective) -> StabilityNumber | str:
    """The stability number from `stability`, or the reason why there is none."""
    try:
        return _stability(objective)
    except NoFixedPointError as error:
        return str(error)


def _stability(objective: Objective) -> StabilityNumber:
    if (own := _formula(objective)) is not None:
        return own
    if objective.requires & PREFERENCE_FIELDS:
        raise NoFixedPointError("it imitates no expert")
    exponent = _step_exponent(objective)
    cure = (
        "take a loss that is curved where Δ is 0, as a hinge is not" if math.isinf(exponent) else "take a shorter step"
    )
    if exponent < 0.0:
        cure = "is the sign of the loss right?"
    elif 1.0 <= abs(1.0 - exponent) < math.inf and (settings := " or ".join(_shorter(objective, abs(1.0 - exponent)))):
        cure = f"{cure}: {settings}"
    return StabilityNumber(symbol="step exponent", value=exponent, step_exponent=exponent, cure=cure)


def _formula(objective: Objective) -> StabilityNumber | None:
    """The objective's own formula; None where it has none, or inherits one with a loss that it changed."""
    kinds = type(objective).__mro__
    formula, loss = (
        next(place for place, kind in enumerate(kinds) if name in vars(kind)) for name in ("stability", "__call__")
    )
    return objective.stability if formula <= loss else None


def _step_exponent(objective: Objective) -> float:
    """The step exponent at the expert of a fixed game, by differentiating the iteration.

    The reference is another policy: a penalty on the distance from it has its minimum elsewhere.
    """
    expert = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    game = ImitationGame(expert=expert, initial=expert.flip(0))
    eigenvalues = contraction_eigenvalues(game, objective, expert)
    dominant = eigenvalues[eigenvalues.abs().argmax()]
    # Log π_{t+1} − log π_E = (1 − e)(log π_t − log π_E): e from the eigenvalue that decays last.
    return 1.0 - math.copysign(float(dominant.abs()), float(dominant.real))


def _shorter(objective: Any, factor: float) -> Iterator[str]:
    """The cure: each setting, a positive number, that reduces the error's factor when it is doubled or halved."""
    for field in dataclasses.fields(objective) if dataclasses.is_dataclass(objective) else ():
        value = getattr(objective, field.name)
        if not field.init or type(value) is not float or value <= 0.0:
            continue
        for verb, other in (("raise", 2.0 * value), ("lower", 0.5 * value)):
            try:
                less = abs(1.0 - _step_exponent(dataclasses.replace(objective, **{field.name: other})))
            except (NoFixedPointError, ValueError):  # it takes no such value
                continue
            if less < 0.99 * factor:
                yield f"{verb} {field.name}"


def contraction_factor(game: ExactGame, objective: Objective, fixed_point: Tensor) -> float:
    """The largest |eigenvalue| of the iteration's derivative at a fixed point `[n]`, opponent `previous`.

    Below one it converges from nearby, by this factor an iteration; infinite where the loss has no curvature, for
    then the step does not shrink with the error.
    """
    return float(contraction_eigenvalues(game, objective, fixed_point).abs().max())


def contraction_eigenvalues(game: ExactGame, objective: Objective, fixed_point: Tensor) -> Tensor:
    """`[n−1]` complex eigenvalues of d log π_{t+1} / d log π_t at a fixed point `[n]`.

    The best response x solves ∂L/∂x(x, o) = 0, so dx/do = −(∂²L/∂x²)⁻¹ ∂²L/∂x∂o; both Hessians come from automatic
    differentiation of the population loss in log odds. All are −∞ where the loss has no curvature in some direction.

    Raises:
        NoFixedPointError: The policy is not a fixed point: against itself its loss still falls, or has no minimum. Or
            it cannot be told, since the loss or its slope has a kink there, or it is flat, whoever the opponent is.
    """
    log_policy = fixed_point.to(torch.float64).log()
    pivot, size = int(log_policy.argmax()), len(log_policy) - 1

    def loss(both: Tensor) -> Tensor:
        log_opponent = from_odds(both[size:], pivot)
        ratios = game.ratios(from_odds(both[:size], pivot), log_opponent, log_opponent.exp())
        return expected_loss(game, objective, ratios)

    odds = to_odds(log_policy, pivot)
    both = torch.cat([odds, odds]).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(both), both, create_graph=True)
    slope = float(gradient[:size].detach().abs().max())
    if slope > 1e-8:
        raise NoFixedPointError(f"it is no fixed point: the loss against itself has gradient {slope:.1e} there")
    rows = [
        torch.autograd.grad(entry, both, retain_graph=True, allow_unused=True, materialize_grads=True)[0]
        for entry in gradient[:size]
    ]
    hessian, mixed = torch.stack(rows).split(size, dim=1)
    derivative = torch.cat([hessian, mixed], dim=1)
    scale = float(derivative.abs().max())
    _check_smooth(loss, both.detach(), gradient[:size].detach(), derivative)
    lowest, flat = float(torch.linalg.eigvalsh(hessian)[0]), _FLAT * max(1.0, scale)
    if lowest < -flat:
        raise NoFixedPointError("it is no fixed point: the loss against itself has no minimum there")
    if scale < flat:
        raise NoFixedPointError("the loss against itself is flat there, so no best response is told from another")
    if lowest < flat:
        # The eigenvalues are 1 − e, and a step that does not shrink with the error has e = +∞.
        return torch.full((size,), -math.inf, dtype=torch.complex128)
    eigenvalues: Tensor = torch.linalg.eigvals(-torch.linalg.solve(hessian, mixed))
    return eigenvalues


def _check_smooth(loss: Function, point: Tensor, slope: Tensor, derivative: Tensor) -> None:
    """Raises NoFixedPointError where a slope `[d]` at a point `[D]` does not move as its derivative `[d, D]` says.

    The slope is that in the first d variables. No two of the variables are moved alike, so that every difference of
    them moves too; and both ways, since a kink may show on one side alone.
    """
    step = _NUDGE * torch.linspace(0.5, 1.0, len(point), dtype=torch.float64).square()
    scale = float(derivative.abs().max())
    for nudge in (step, -step):
        beside = (point + nudge).requires_grad_()
        (moved,) = torch.autograd.grad(loss(beside), beside)
        rest = moved[: len(slope)] - slope - derivative @ nudge
        if float(rest.abs().max()) > _KINK * _NUDGE * max(_NUDGE, scale):
            raise NoFixedPointError(
                "the loss against itself, or its slope, has a kink there: no derivative tells a step"
            )
