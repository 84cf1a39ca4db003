"""Known answers, and what each opponent does to `spin`, against exact best responses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from objectives.exact import best_response, log_error, over_prompts, ratios
from sparring.mixture import geometric_mixture
from sparring.objectives import Spin
from sparring.opponents import Base, FictitiousPlay, GeometricMixture, Previous, PreviousTwo
from sparring.policies import BASE
from sparring.types import Opponent, OpponentSpec

EXPERT = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64).log()
REFERENCE = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64).log()
START = torch.tensor([0.3, 0.25, 0.25, 0.2], dtype=torch.float64).log()


def play(
    opponent: Opponent, beta: float, start: Tensor, iterations: int, reference: Tensor = REFERENCE
) -> list[Tensor]:
    """log π_0 … π_T of exact `spin` against an opponent, scored and sampled as its spec says."""
    objective, policies = Spin(beta=beta), {BASE: reference, 0: start}
    for iteration in range(iterations):
        spec = opponent.spec(iteration)
        scored = opponent.combine(iteration, {policy: policies[policy] for policy in spec.scorers})
        generated = [geometric_mixture(policies[each], policies[BASE], spec.base_share) for each in spec.generators]
        drawn = torch.stack(generated).exp().mean(0)

        def loss(log_policy: Tensor, scored: Tensor = scored, drawn: Tensor = drawn) -> Tensor:
            given = ratios(log_policy, scored, EXPERT.exp(), drawn=drawn)
            return over_prompts(given, objective(given).loss)

        policies[iteration + 1] = best_response(loss, policies[iteration])
    return [policies[iteration] for iteration in range(iterations + 1)]


def errors(opponent: Opponent, beta: float, iterations: int) -> Tensor:
    """The error of log π_t along one small perturbation of the expert, `[T+1]`, in units of the perturbation."""
    direction = torch.tensor([1.0, -2.0, 0.5, 0.5], dtype=torch.float64)
    start = (EXPERT + 1e-4 * direction).log_softmax(0)
    unit = log_error(start, EXPERT)
    played = play(opponent, beta, start, iterations)
    return torch.stack([(log_error(policy, EXPERT) @ unit) / (unit @ unit) for policy in played])


def test_specs() -> None:
    assert Previous().spec(3) == OpponentSpec(generators=(3,), scorers=(3,))
    assert Base().spec(3) == OpponentSpec(generators=(3,), scorers=(BASE,))
    assert GeometricMixture().spec(3) == OpponentSpec(generators=(3,), scorers=(3, BASE))
    mixed = GeometricMixture(alpha=0.3, samples="mixture").spec(3)
    assert mixed == OpponentSpec(generators=(3,), scorers=(3, BASE), base_share=0.3)
    assert PreviousTwo().spec(0) == OpponentSpec(generators=(0,), scorers=(0,))
    assert PreviousTwo().spec(3) == OpponentSpec(generators=(3, 2), scorers=(3,))
    assert FictitiousPlay().spec(2) == OpponentSpec(generators=(0, 1, 2), scorers=(0, 1, 2))
    assert FictitiousPlay(history=2).spec(0) == OpponentSpec(generators=(0,), scorers=(0,))
    assert FictitiousPlay(history=2).spec(3) == OpponentSpec(generators=(2, 3), scorers=(2, 3))


def test_mixtures() -> None:
    one, two = torch.tensor([0.2, 0.5]), torch.tensor([0.4, 0.1])
    logs = {0: one.log(), 1: two.log(), BASE: two.log()}
    assert torch.allclose(FictitiousPlay().combine(1, logs).exp(), (one + two) / 2)
    assert torch.allclose(FictitiousPlay(mixture="geometric").combine(1, logs).exp(), (one * two).sqrt())
    assert torch.allclose(GeometricMixture(alpha=0.25).combine(0, logs).exp(), one**0.75 * two**0.25)
    assert torch.equal(Base().combine(0, logs), two.log())
    assert torch.equal(PreviousTwo().combine(1, logs), two.log())


@pytest.mark.parametrize(
    ("opponent", "iteration"),
    [
        (FictitiousPlay(), 0),
        (FictitiousPlay(history=1), 4),
        (FictitiousPlay(mixture="geometric"), 0),
        (PreviousTwo(), 0),
    ],
)
def test_degenerate_cases_are_the_previous_policy(opponent: Opponent, iteration: int) -> None:
    assert opponent.spec(iteration) == Previous().spec(iteration)
    logs = {iteration: START}
    assert torch.allclose(opponent.combine(iteration, logs), START)


@pytest.mark.parametrize(("alpha", "beta"), [(0.1, 1.0), (0.5, 1.0), (0.3, 2.0)])
def test_geometric_mixture_steps_and_settles_as_its_docstring_says(alpha: float, beta: float) -> None:
    opponent = GeometricMixture(alpha=alpha)
    after = play(opponent, beta, START, 1)[1]
    step = (1 - alpha - 1 / beta) * START + alpha * REFERENCE + EXPERT / beta
    assert torch.allclose(after, step.log_softmax(0), atol=1e-8)
    settled = play(opponent, beta, START, 40)[-1]
    fixed = (EXPERT + alpha * beta * REFERENCE) / (1 + alpha * beta)
    assert torch.allclose(settled, fixed.log_softmax(0), atol=1e-6)


@pytest.mark.parametrize(("alpha", "beta"), [(0.1, 1.0), (0.5, 0.6), (0.3, 2.0)])
def test_sampled_from_as_well_it_steps_and_settles_as_its_docstring_says(alpha: float, beta: float) -> None:
    opponent = GeometricMixture(alpha=alpha, samples="mixture")
    after = play(opponent, beta, START, 1)[1]
    step = (1 - 1 / beta) * ((1 - alpha) * START + alpha * REFERENCE) + EXPERT / beta
    assert torch.allclose(after, step.log_softmax(0), atol=1e-8)
    settled, c = play(opponent, beta, START, 40)[-1], 1 + alpha * (beta - 1)
    fixed = EXPERT / c + (1 - 1 / c) * REFERENCE
    assert torch.allclose(settled, fixed.log_softmax(0), atol=1e-6)


@pytest.mark.parametrize("opponent", [GeometricMixture(alpha=0.5), Previous()])
def test_geometric_mixture_of_samples_of_the_latest_policy_narrows_the_stable_range(opponent: Opponent) -> None:
    # β = 0.6 lies between ½, the edge of `previous`, and 1/(2 − α) = ⅔.
    played = play(opponent, 0.6, (EXPERT + 1e-3 * START).log_softmax(0), 12, reference=EXPERT)
    first, last = (float(log_error(policy, EXPERT).norm()) for policy in (played[0], played[-1]))
    assert (last > first) == isinstance(opponent, GeometricMixture)


@pytest.mark.parametrize("beta", [1.5, 3.0])
def test_base_steps_and_settles_as_its_docstring_says(beta: float) -> None:
    played = play(Base(), beta, START, 60)
    step = REFERENCE + (EXPERT - START) / beta
    assert torch.allclose(played[1], step.log_softmax(0), atol=1e-8)
    fixed = (EXPERT + beta * REFERENCE) / (1 + beta)
    assert torch.allclose(played[-1], fixed.log_softmax(0), atol=1e-6)


@pytest.mark.parametrize("beta", [0.8, 1.0, 2.0])
def test_previous_two_follows_its_recursion(beta: float) -> None:
    measured, c = errors(PreviousTwo(), beta, 8), 1 / (2 * beta)
    assert measured[1] == pytest.approx(1 - 1 / beta, abs=1e-3)
    for t in range(1, 8):
        assert measured[t + 1] == pytest.approx(float((1 - c) * measured[t] - c * measured[t - 1]), abs=1e-3)


@pytest.mark.parametrize("options", [{}, {"history": 2}, {"history": 3, "mixture": "geometric"}])
@pytest.mark.parametrize("beta", [0.6, 2.0])
def test_fictitious_play_follows_its_recursion(options: dict[str, Any], beta: float) -> None:
    measured = errors(FictitiousPlay(**options), beta, 6)
    history = options.get("history") or 7
    for t in range(6):
        average = float(measured[max(0, t - history + 1) : t + 1].mean())
        assert measured[t + 1] == pytest.approx((1 - 1 / beta) * average, abs=1e-3)


@pytest.mark.parametrize("history", [1, 2, 3])
def test_fictitious_play_widens_the_stable_range_to_one_over_h_plus_one(history: int) -> None:
    edge = 1 / (history + 1)
    inside, outside = (errors(FictitiousPlay(history=history), beta, 30) for beta in (1.1 * edge, 0.92 * edge))
    assert inside[-4:].abs().max() < 0.5 * inside[:4].abs().max()
    assert outside[-4:].abs().max() > 1.5 * outside[:4].abs().max()


def test_fictitious_play_over_all_policies_falls_as_a_power() -> None:
    beta = 0.45
    measured = errors(FictitiousPlay(), beta, 48)
    assert errors(Previous(), beta, 20)[-1].abs() > 10
    # The recursion's average is multiplied by (t + 1 + κ)/(t + 2), κ = 1 − 1/β, so it falls as t^{κ−1} = t^{−1/β}.
    rate = math.log(float(measured[48] / measured[24])) / math.log(2)
    assert rate == pytest.approx(-1 / beta, abs=0.15)
