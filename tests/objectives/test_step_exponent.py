"""The step exponent that each objective states, against the exact best response to a slightly perturbed expert."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from objectives.exact import best_response, log_error, over_prompts, play, ratios
from sparring.log_ratios import LogRatios
from sparring.objectives import OBJECTIVES, FDivergence, Renyi, Spin, TSpin
from sparring.types import Objective

EXPERT = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
PERTURBATION = 1e-4 * torch.tensor([1.0, -2.0, 0.5, 1.0], dtype=torch.float64)

F_DIVERGENCES = ["kl", "reverse_kl", "js", "pearson", "neyman", "squared_hellinger"]
STABLE: list[tuple[str, dict[str, Any]]] = [
    *(("spin", {"beta": beta}) for beta in (0.4, 1.0, 2.0)),
    *(("spin", {"beta": 1.5, "link": link}) for link in ("exponential", "squared")),
    *(("spif", {"beta": beta, "reward_bound": bound}) for beta, bound in ((1.0, 2.0), (0.5, 0.5), (1.0, 5.0))),
    *(("space", {"beta": beta, "mu": mu}) for beta, mu in ((1.0, 1.0), (0.4, 1.0), (2.0, 3.0), (0.7, 0.2))),
    *(("f-divergence", {"beta": beta, "divergence": f}) for beta in (0.6, 1.0, 2.0) for f in F_DIVERGENCES),
    *(
        ("renyi", {"beta": beta, "alpha": alpha})
        for beta in (0.6, 1.0, 2.0)
        for alpha in (-0.5, 0, 0.5, 1, 1.5, "adaptive")
    ),
]


def exponent(objective: Objective) -> float:
    """e in π_{t+1} ∝ π_t (π_E/π_t)^e, by least squares over the outcomes."""
    target = EXPERT.log()
    start = (target + PERTURBATION).log_softmax(0)
    after = play(objective, EXPERT, start, 1)[1]
    before_error, after_error = log_error(start, target), log_error(after, target)
    return 1.0 - float((before_error * after_error).sum() / before_error.square().sum())


@pytest.mark.parametrize(("name", "options"), STABLE)
def test_the_stated_step_exponent_is_the_measured_one(name: str, options: dict[str, Any]) -> None:
    objective = OBJECTIVES[name](**options)
    assert objective.stability is not None
    assert exponent(objective) == pytest.approx(objective.stability.step_exponent, abs=2e-3)


def test_every_objective_with_a_number_is_measured() -> None:
    assert {name for name, _ in STABLE} == {name for name, kind in OBJECTIVES.items() if kind().stability is not None}


@pytest.mark.parametrize("link", ["hinge", "linear"])
def test_links_without_curvature_state_an_infinite_exponent(link: str) -> None:
    stability = Spin(link=link).stability
    assert stability.step_exponent == math.inf
    assert stability.verdict.startswith("overshoots")


@pytest.mark.parametrize("objective", [Spin(beta=0.8), Renyi(beta=0.8, alpha=0.3), Renyi(beta=0.8, alpha=1)])
def test_the_power_law_is_exact_far_from_the_expert(objective: Objective) -> None:
    start = torch.tensor([0.5, 0.3, 0.1, 0.1], dtype=torch.float64).log()
    after = play(objective, EXPERT, start, 1)[1]
    expected = (start + (EXPERT.log() - start) / 0.8).log_softmax(0)
    assert torch.allclose(after, expected, atol=1e-8)


@pytest.mark.parametrize("divergence", F_DIVERGENCES)
def test_f_divergence_is_done_in_one_step_at_beta_one(divergence: str) -> None:
    start = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64).log()
    after = play(FDivergence(divergence=divergence), EXPERT, start, 1)[1]
    assert torch.allclose(after, EXPERT.log(), atol=1e-8)


@pytest.mark.parametrize(("scale", "history"), [(1.0, 1.0), (3.0, 0.0), (2.0, 0.5), (1.5, 2.0)])
def test_t_spin_steps_as_its_docstring_says_near_the_uniform_distribution(scale: float, history: float) -> None:
    objective = TSpin(beta=scale, history_weight=history)
    u, v, w = 1e-4 * torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expert, opponent, first = (value.log_softmax(0) for value in (u, v, w))

    def loss(log_policy: torch.Tensor) -> torch.Tensor:
        given = ratios(
            log_policy,
            opponent,
            expert.exp(),
            policy_initial=log_policy.expand(4, -1),
            initial_weight=first.exp().expand(4, -1),
        )
        return over_prompts(given, objective(given).loss)

    after = log_error(best_response(loss, opponent), torch.zeros_like(u))
    expected = (2.0 / scale) * (u - history * w - (1.0 - history) * v)
    assert torch.allclose(after, expected - expected.mean(), atol=1e-7)


def test_t_spin_has_no_gradient_from_its_history_at_iteration_zero() -> None:
    log_probs = -3.0 * torch.rand(2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    slopes = []
    for history in (0.0, 1.0):
        generated = log_probs.clone().requires_grad_()
        given = LogRatios(policy_expert=log_probs[:, 0], policy_generated=generated, policy_initial=generated)
        TSpin(history_weight=history)(given).loss.sum().backward()
        slopes.append(generated.grad)
    assert torch.allclose(slopes[0], slopes[1], atol=1e-15)
