"""Exact expectations over n outcomes, and best responses over all distributions on them; float64."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import strategies as st
from torch import Tensor

from sparring.log_ratios import LogRatios
from sparring.types import Objective


def distributions(size: int) -> st.SearchStrategy[Tensor]:
    """Distributions on `size` outcomes, none rarer than about e^−4."""
    logit = st.floats(-1.5, 1.5, allow_nan=False, width=32)
    return st.lists(logit, min_size=size, max_size=size).map(
        lambda logits: torch.tensor(logits, dtype=torch.float64).softmax(0)
    )


def ratios(
    log_policy: Tensor, opponent: Tensor, expert: Tensor, *, drawn: Tensor | None = None, **fields: Tensor
) -> LogRatios:
    """Every outcome as the expert's response, weighted by the expert, and as a generated one, weighted by `drawn`.

    `opponent` is log π_o `[n]`; its exponential is what is drawn, unless told otherwise.
    """
    size = len(log_policy)
    delta = log_policy - opponent
    return LogRatios(
        expert=delta,
        generated=delta.expand(size, -1),
        expert_weight=expert,
        generated_weight=(opponent.exp() if drawn is None else drawn).expand(size, -1),
        policy_expert=log_policy,
        policy_generated=log_policy.expand(size, -1),
        **fields,
    )


def of_rewards(
    expert_reward: Tensor, generated_reward: Tensor, beta: float, expert: Tensor, opponent: Tensor
) -> LogRatios:
    """Free rewards, `[n]` of the expert's responses and `[n, n]` of the generated ones, as log ratios."""
    return LogRatios(
        expert=expert_reward / beta,
        generated=generated_reward / beta,
        expert_weight=expert,
        generated_weight=opponent.expand(len(opponent), -1),
    )


def over_prompts(given: LogRatios, value: Tensor) -> Tensor:
    """E_x[value]: `[B]` → scalar, with `expert_weight`."""
    return (given.require("expert_weight") * value).sum()


def estimate(objective: Objective, given: LogRatios) -> float:
    """The expected `divergence_estimate`."""
    return float(over_prompts(given, objective(given).metrics["divergence_estimate"]))


def best_response(loss: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """argmin over distributions of `loss(log π)`, near `start`; both are log-probabilities `[n]`.

    Newton's method on softmax logits, halving a step that raises the loss; independent of sparring's own solver.
    """

    def of_logits(logits: Tensor) -> Tensor:
        return loss(logits.log_softmax(0))

    logits = start.clone()
    for _ in range(100):
        point = logits.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(of_logits(point), point)
        hessian = torch.autograd.functional.hessian(of_logits, logits)
        # The flat direction of softmax, along (1, …, 1), is given curvature; its gradient is zero. Curvature counts
        # by its size, so that where the loss is not convex the step still goes down.
        values, vectors = torch.linalg.eigh(hessian + torch.ones_like(hessian))
        step = vectors @ ((vectors.T @ gradient) / values.abs().clamp(min=1e-12))
        before = of_logits(logits)
        share = 1.0
        while share > 1e-6 and not of_logits(logits - share * step) <= before + 1e-15:
            share /= 2
        logits = logits - share * step
        if step.abs().max() < 1e-11:
            break
    return logits.log_softmax(0)


def play(objective: Objective, expert: Tensor, start: Tensor, iterations: int) -> list[Tensor]:
    """log π_0 … π_T: exact best responses to the policy before."""
    policies = [start]
    for _ in range(iterations):
        opponent = policies[-1]

        def loss(log_policy: Tensor, opponent: Tensor = opponent) -> Tensor:
            given = ratios(log_policy, opponent, expert)
            return over_prompts(given, objective(given).loss)

        policies.append(best_response(loss, opponent))
    return policies


def log_error(log_policy: Tensor, target: Tensor) -> Tensor:
    """log π − log target without its mean: what a normaliser adds is left out; `[n]`."""
    difference = log_policy - target
    return difference - difference.mean()
