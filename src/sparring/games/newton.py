"""Minima and roots in a few dozen variables, to rounding error: damped Newton, exact derivatives, float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sparring.errors import RunError

Function = Callable[[Tensor], Tensor]
"""A scalar function of a point `[d]`."""

_TOLERANCE = 1e-12  # entries of the gradient, where it has converged
_MOST_STEPS = 400
_LONGEST_STEP = 8.0  # nats: where a sigmoid is saturated the quadratic model says nothing about farther points
_FLAT = 1e-13  # curvature below this share of the gradient counts as none
_NEAR = 0.1  # nats: a tenth's fourth power is far above rounding
_FAR = 23.0  # nats: log 1e10, see LOWEST_PROBABILITY in players.py
_FOR_EVER = 1e4  # nats


class NoMinimiserError(RunError):
    """The function has no minimiser that Newton's method can reach; the message says why."""


def derivatives(function: Function, point: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The value, gradient `[d]` and Hessian `[d, d]` at a point `[d]`, by automatic differentiation."""
    point = point.detach().requires_grad_()
    value = function(point)
    (gradient,) = torch.autograd.grad(value, point, create_graph=True)
    rows = [
        torch.autograd.grad(entry, point, retain_graph=True, allow_unused=True, materialize_grads=True)[0]
        for entry in gradient
    ]
    hessian = torch.stack(rows)
    return value.detach(), gradient.detach(), 0.5 * (hessian + hessian.T)


def newton_step(gradient: Tensor, hessian: Tensor) -> tuple[Tensor, bool]:
    """The step −H⁻¹g, with H's eigenvalues made positive, and whether they were so already.

    H is first scaled to a unit diagonal: an outcome of probability 1e-40 has curvature 1e-40, and without scaling
    an eigenvalue decomposition would drown it in the rounding error of the others.
    """
    scale = hessian.diagonal().abs().sqrt().clamp(min=1e-150)
    values, vectors = torch.linalg.eigh(hessian / scale.outer(scale))
    convex = bool(values[0] > 1e-13)
    positive = values if convex else values.abs().clamp(min=max(1e-8 * float(values.abs().max()), 1e-300))
    step = -(vectors @ ((vectors.T @ (gradient / scale)) / positive)) / scale
    return step * min(1.0, _LONGEST_STEP / max(float(step.abs().max()), 1e-300)), convex


def _search(function: Function, point: Tensor, value: Tensor, slope: float, step: Tensor) -> Tensor | None:
    """The first point along the step, halving it, that lowers the function enough (Armijo); None if none does."""
    rounding = 1e-14 * (1.0 + float(value.abs()))
    for halvings in range(60):
        share = 0.5**halvings
        candidate = point + share * step
        with torch.no_grad():
            reached = function(candidate)
        if bool(torch.isfinite(reached)) and float(reached - value) <= 1e-4 * share * slope + rounding:
            return candidate
    return None


def minimise(function: Function, start: Tensor) -> Tensor:
    """The local minimiser `[d]` that descent from `start` reaches.

    It has converged when every entry of the gradient is below 1e-12, the Newton step is below 1e-6, and the
    Hessian is positive definite, or all that is 0.1 nats beside the point is higher. The step matters for outcomes so
    rare that their gradient is always small; it is still taken, and squares the error.

    Raises:
        NoMinimiserError: There is none that can be reached: the function falls for ever, is flat, has its minimum at a
            kink or at infinity, or is no number; the message says which.
    """
    point = start.detach().clone()
    for _ in range(_MOST_STEPS):
        value, gradient, hessian = derivatives(function, point)
        size, curvature = float(gradient.abs().max()), float(hessian.abs().max())
        if not math.isfinite(float(value) + size + curvature):
            raise NoMinimiserError("the expected loss, its slope or its curvature is no finite number")
        if size > _TOLERANCE and _is_straight(size, curvature):
            point = _past_the_straight(function, point)
            continue
        step, convex = newton_step(gradient, hessian)
        if size <= _TOLERANCE and float(step.abs().max()) <= 1e-6:
            if convex or _is_lowest(function, point, hessian):
                return point + step
            # Exactly: at infinity both only become very small.
            if (size, curvature) == (0.0, 0.0):
                raise NoMinimiserError(_AT_A_FLAT)
            if float(point.abs().max()) <= _FAR:
                raise NoMinimiserError(_FLAT_SOMEWHERE)
        reached = _search(function, point, value, float(gradient @ step), step)
        if reached is None:
            break
        point = reached
    if float(point.abs().max()) <= _FAR:
        raise NoMinimiserError(_AT_A_KINK)
    why = "the minimum lies at infinity, or beyond what float64 resolves"
    raise NoMinimiserError(
        f"Newton's method stopped at a gradient of {size:.1e} after {_MOST_STEPS} steps at most: {why}",
    )


_FLAT_SOMEWHERE = (
    "the expected loss is flat in a direction, as with pairs=best-worst of three outcomes or more (pairs=all is not): "
    "it has many minimisers, which are equally good, and which of them training reaches depends on its steps"
)
_AT_A_KINK = (
    "the expected loss is lowest at a kink, as that of a hinge is, so it has no smooth minimiser; a model can be "
    "trained on it, and an exact game plays a smooth loss like it, such as softplus(1 − t) in place of max(0, 1 − t)"
)
_AT_A_FLAT = (
    "the expected loss ends in a flat part, as past a clip: it has no smooth minimiser, since all policies there are "
    "equally good, and which of them training reaches depends on its steps"
)


def _is_straight(slope: float, curvature: float) -> bool:
    return curvature < _FLAT * max(slope, 1.0)


def _is_lowest(function: Function, point: Tensor, hessian: Tensor) -> bool:
    """Whether a point without slope is a minimum although it lacks curvature, as that of t⁴: all beside is higher."""
    vectors = torch.linalg.eigh(hessian)[1].T
    with torch.no_grad():
        value = function(point)
        rises = torch.stack([function(point + each) - value for each in _NEAR * torch.cat([vectors, -vectors])])
    return float(rises.min()) > 1e-14 * (1.0 + float(value.abs()))


def _past_the_straight(function: Function, point: Tensor) -> Tensor:
    """A lower point downhill where the function is curved, from one where it is straight and falls.

    A smooth function is straight at an inflection, or in a straight part; one that is straight wherever it is
    differentiable has no smooth minimiser.

    Raises:
        NoMinimiserError: There is no such point; the message says why.
    """
    start, gradient, _ = derivatives(function, point)
    slope = float(gradient.norm())
    if float(start - function(point - _FOR_EVER * gradient / slope)) > (1.0 - 1e-6) * _FOR_EVER * slope:
        raise NoMinimiserError("the expected loss is linear and falls for ever, so it has no smooth minimiser")
    # By ever shorter steps, which no kink stops.
    for number in range(400):
        point = point - min(1.0, _LONGEST_STEP / (number + 1)) * gradient / slope
        value, gradient, hessian = derivatives(function, point)
        slope, curvature = float(gradient.norm()), float(hessian.abs().max())
        if slope <= _TOLERANCE and curvature <= _TOLERANCE:
            raise NoMinimiserError(_AT_A_FLAT)
        if float(value) < float(start) and not _is_straight(slope, curvature):
            return point
        slope = max(slope, 1e-300)
    raise NoMinimiserError(_AT_A_KINK)


def find_root(system: Callable[[Tensor], tuple[Tensor, Tensor]], start: Tensor) -> tuple[Tensor, float]:
    """Damped Newton on F(point) = 0, from a residual `[d]` and its Jacobian `[d, d]`.

    Returns:
        The point where no step along Newton's direction lowers |F| any more, and max |F| there, by which the caller
        decides whether it is a root.
    """
    point = start.clone()
    residual, jacobian = system(point)
    for _ in range(100):
        step = torch.linalg.solve(jacobian, -residual)
        share = min(1.0, _LONGEST_STEP / max(float(step.abs().max()), 1e-300))
        reached = system(point + share * step)
        while share > 1e-9 and not float(reached[0].norm()) <= (1.0 - 1e-4 * share) * float(residual.norm()):
            share *= 0.5
            reached = system(point + share * step)
        if share <= 1e-9:
            break
        point, (residual, jacobian) = point + share * step, reached
    return point, float(residual.abs().max())
