"""At an objective's optimum its divergence estimate is, in expectation, the divergence that it bounds."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from objectives.exact import distributions, estimate
from sparring.games.adversarial import PAYOFFS, free_value
from sparring.log_ratios import LogRatios
from sparring.objectives import OBJECTIVES
from sparring.types import Objective, Variational

Divergence = Callable[[Tensor, Tensor], float]


def kl(p: Tensor, q: Tensor) -> float:
    return float((p * (p / q).log()).sum())


def mixed_kl(p: Tensor, q: Tensor, mu: float) -> float:
    middle = (p + mu * q) / (1 + mu)
    return (kl(p, middle) + mu * kl(q, middle)) / (1 + mu)


def chi_squared_to_mixture(p: Tensor, q: Tensor) -> float:
    middle = 0.5 * (p + q)
    return float(((p - middle) ** 2 / middle).sum())


def squared_hellinger(p: Tensor, q: Tensor) -> float:
    return float(0.5 * (p.sqrt() - q.sqrt()).square().sum())


def total_variation(p: Tensor, q: Tensor) -> float:
    return float(0.5 * (p - q).abs().sum())


def of_pairs(divergence: Divergence) -> Divergence:
    """Between π_E ⊗ π_o and π_o ⊗ π_E."""
    return lambda p, q: divergence(torch.outer(p, q).flatten(), torch.outer(q, p).flatten())


def renyi(alpha: float) -> Divergence:
    return lambda p, q: float((p**alpha * q ** (1 - alpha)).sum().log()) / (alpha * (alpha - 1))


# Objective, settings, the divergence by its definition, the settings of its payoff in the exact game, if it attains it.
CASES: list[tuple[str, dict[str, object], Divergence, dict[str, object] | None]] = [
    ("spin", {"beta": 0.3}, of_pairs(lambda p, q: mixed_kl(p, q, 1.0)), {}),
    ("spin", {"link": "exponential"}, of_pairs(squared_hellinger), {"link": "exponential"}),
    ("spin", {"link": "squared", "beta": 2.0}, of_pairs(chi_squared_to_mixture), None),
    ("spin", {"link": "hinge"}, of_pairs(total_variation), None),
    ("spif", {"beta": 0.5, "reward_bound": 3.0}, chi_squared_to_mixture, {"reward_bound": 3.0}),
    ("space", {"beta": 2.0}, lambda p, q: mixed_kl(p, q, 1.0), {}),
    ("space", {"mu": 3.0}, lambda p, q: mixed_kl(p, q, 3.0), {"mu": 3.0}),
    ("f-divergence", {"divergence": "kl", "beta": 0.5}, kl, {"divergence": "kl"}),
    ("f-divergence", {"divergence": "reverse_kl"}, lambda p, q: kl(q, p), {"divergence": "reverse_kl"}),
    ("f-divergence", {"divergence": "js"}, lambda p, q: mixed_kl(p, q, 1.0), {"divergence": "js"}),
    (
        "f-divergence",
        {"divergence": "pearson"},
        lambda p, q: float(((p - q) ** 2 / q).sum()),
        {"divergence": "pearson"},
    ),
    ("f-divergence", {"divergence": "neyman"}, lambda p, q: float(((p - q) ** 2 / p).sum()), {"divergence": "neyman"}),
    ("f-divergence", {"divergence": "squared_hellinger"}, squared_hellinger, {"divergence": "squared_hellinger"}),
    ("renyi", {"alpha": 0.3, "beta": 0.5}, renyi(0.3), {"alpha": 0.3}),
    ("renyi", {"alpha": "adaptive"}, renyi(0.5), {}),
    ("renyi", {"alpha": 1}, kl, None),
]


def at_optimum(objective: Objective, expert: Tensor, opponent: Tensor) -> float:
    """Every outcome as the expert's and as the opponent's response, weighed by its probability: nothing is sampled."""
    assert isinstance(objective, Variational)
    u = (expert / opponent).log()
    density = LogRatios(
        expert=u,
        generated=u.expand(len(u), -1),
        expert_weight=expert,
        generated_weight=opponent.expand(len(u), -1),
    )
    return estimate(objective, objective.optimum(density))


@pytest.mark.parametrize(
    ("name", "options", "divergence", "payoff"), CASES, ids=[f"{name}-{options}" for name, options, *_ in CASES]
)
@settings(max_examples=2, deadline=None)
@given(expert=distributions(4), opponent=distributions(4))
def test_the_expectation_is_the_divergence(
    name: str,
    options: dict[str, object],
    divergence: Divergence,
    payoff: dict[str, object] | None,
    expert: Tensor,
    opponent: Tensor,
) -> None:
    value = at_optimum(OBJECTIVES[name](**options), expert, opponent)
    assert value == pytest.approx(divergence(expert, opponent), abs=1e-12)
    if payoff is not None:
        game = free_value(PAYOFFS[name](**payoff), expert, opponent)
        assert value == pytest.approx(game.value, abs=1e-9)


def test_no_reward_does_better_than_the_optimum() -> None:
    """Any other log ratios give less: that is what makes it a bound, and `truth/divergence` its ceiling."""
    torch.manual_seed(0)
    expert, opponent = (torch.softmax(torch.randn(5, dtype=torch.float64), 0) for _ in range(2))
    for name, options, _, _ in CASES:
        objective = OBJECTIVES[name](**options)
        ceiling = at_optimum(objective, expert, opponent)
        for _ in range(5):
            ratio = torch.randn(5, dtype=torch.float64)
            other = LogRatios(
                expert=ratio,
                generated=ratio.expand(5, -1),
                expert_weight=expert,
                generated_weight=opponent.expand(5, -1),
            )
            assert estimate(objective, other) <= ceiling + 1e-12


def test_a_link_without_a_divergence_has_no_optimum() -> None:
    spin = OBJECTIVES["spin"](link="linear")
    assert isinstance(spin, Variational)
    with pytest.raises(ValueError, match="'linear' bounds no divergence"):
        spin.optimum(LogRatios(expert=torch.ones(1), generated=torch.ones(1, 1)))


def test_saturated_ratios_stay_finite() -> None:
    """Responses of many tokens differ by many nats; the bounded divergences then reach their ceilings."""
    density = LogRatios(expert=torch.tensor([900.0]), generated=torch.tensor([[-900.0]]))
    for name, ceiling in (("spif", 1.0), ("space", math.log(2.0)), ("spin", math.log(2.0))):
        objective = OBJECTIVES[name]()
        value = objective(objective.optimum(density)).metrics["divergence_estimate"]
        assert float(value) == pytest.approx(ceiling, abs=1e-6)
