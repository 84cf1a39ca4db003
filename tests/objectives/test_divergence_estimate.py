"""`divergence_estimate` is the exact divergence at the best free reward, and a lower bound at any other."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from objectives.exact import distributions, estimate, of_rewards
from sparring.objectives import FDivergence, Renyi, Space, Spif, Spin
from sparring.types import Objective

SIZE = 4
POINTS = settings(max_examples=25, deadline=None)


def kl(p: Tensor, q: Tensor) -> Tensor:
    return torch.xlogy(p, p / q).sum()


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    middle = 0.5 * (p + q)
    return 0.5 * kl(p, middle) + 0.5 * kl(q, middle)


def chi_squared_to_mixture(p: Tensor, q: Tensor) -> Tensor:
    middle = 0.5 * (p + q)
    return ((p - middle).square() / middle).sum()


def hellinger(p: Tensor, q: Tensor) -> Tensor:
    return 0.5 * (p.sqrt() - q.sqrt()).square().sum()


def weighted_jensen_shannon(mu: float) -> Callable[[Tensor, Tensor], Tensor]:
    def divergence(p: Tensor, q: Tensor) -> Tensor:
        middle = (p + mu * q) / (1.0 + mu)
        return (kl(p, middle) + mu * kl(q, middle)) / (1.0 + mu)

    return divergence


def renyi(alpha: float) -> Callable[[Tensor, Tensor], Tensor]:
    def divergence(p: Tensor, q: Tensor) -> Tensor:
        return (p**alpha * q ** (1.0 - alpha)).sum().log() / (alpha * (alpha - 1.0))

    return divergence


def pair(seed: int) -> tuple[Tensor, Tensor]:
    draws = torch.randn(2, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    first, second = draws.softmax(-1)
    return first, second


def log_ratio(p: Tensor, q: Tensor) -> Tensor:
    return (p / q).log()


# objective, its best free reward, the divergence that it then measures
SINGLE: list[tuple[Objective, Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = [
    (Spif(reward_bound=0.5), lambda p, q: 0.5 * (p - q) / (p + q), chi_squared_to_mixture),
    (Space(mu=1.0), log_ratio, jensen_shannon),
    (Space(mu=3.0), log_ratio, weighted_jensen_shannon(3.0)),
    (FDivergence(divergence="kl"), log_ratio, kl),
    (FDivergence(divergence="reverse_kl"), log_ratio, lambda p, q: kl(q, p)),
    (FDivergence(divergence="js"), log_ratio, jensen_shannon),
    (FDivergence(divergence="pearson"), log_ratio, lambda p, q: ((p - q).square() / q).sum()),
    (FDivergence(divergence="neyman"), log_ratio, lambda p, q: ((p - q).square() / p).sum()),
    (FDivergence(divergence="squared_hellinger"), log_ratio, hellinger),
    (Renyi(alpha=0.5), log_ratio, renyi(0.5)),
    (Renyi(alpha=2.0), log_ratio, renyi(2.0)),
    (Renyi(alpha=-1.0), log_ratio, renyi(-1.0)),
    (Renyi(alpha=1), log_ratio, kl),
    (Renyi(alpha=0), log_ratio, lambda p, q: kl(q, p)),
]


@pytest.mark.parametrize(("objective", "best", "divergence"), SINGLE)
@POINTS
@given(expert=distributions(SIZE), opponent=distributions(SIZE), noise=st.integers(0, 10_000))
def test_single_rewards(objective, best, divergence, expert, opponent, noise) -> None:
    reward, truth = best(expert, opponent), float(divergence(expert, opponent))
    exact = estimate(objective, of_rewards(reward, reward.expand(SIZE, -1), objective.beta, expert, opponent))
    assert exact == pytest.approx(truth, abs=1e-12, rel=1e-9)
    other = reward + torch.randn(SIZE, generator=torch.Generator().manual_seed(noise), dtype=torch.float64)
    assert (
        estimate(objective, of_rewards(other, other.expand(SIZE, -1), objective.beta, expert, opponent))
        <= truth + 1e-12
    )


# The link's best logit for outcomes of probability P under the one order and Q under the other, and the divergence.
PAIRS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "logistic": (log_ratio, jensen_shannon),
    "hinge": (lambda p, q: (p - q).sign(), lambda p, q: 0.5 * (p - q).abs().sum()),
    "exponential": (lambda p, q: 0.5 * log_ratio(p, q), hellinger),
    "squared": (lambda p, q: (p - q) / (p + q), chi_squared_to_mixture),
}


@pytest.mark.parametrize("link", PAIRS)
@POINTS
@given(expert=distributions(SIZE), opponent=distributions(SIZE), noise=st.integers(0, 10_000))
def test_spin_links_measure_a_divergence_of_pairs(link, expert, opponent, noise) -> None:
    best, divergence = PAIRS[link]
    first, second = expert.outer(opponent), opponent.outer(expert)
    truth, zero = float(divergence(first, second)), torch.zeros(SIZE, dtype=torch.float64)
    # With the expert's reward at zero, the reward of sample k beside expert y is −t(y, k): free for every pair.
    logit, objective = best(first, second), Spin(link=link)
    exact = estimate(objective, of_rewards(zero, -logit, 1.0, expert, opponent))
    assert exact == pytest.approx(truth, abs=1e-12, rel=1e-9)
    draw = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(noise), dtype=torch.float64)
    other = logit + draw - draw.T
    assert estimate(objective, of_rewards(zero, -other, 1.0, expert, opponent)) <= truth + 1e-12


def test_the_linear_link_measures_nothing() -> None:
    reward = torch.zeros(SIZE, dtype=torch.float64)
    given_ratios = of_rewards(reward, reward.expand(SIZE, -1), 1.0, reward.softmax(0), reward.softmax(0))
    assert "divergence_estimate" not in Spin(link="linear")(given_ratios).metrics


def test_renyi_does_not_see_a_constant_reward() -> None:
    p, q = pair(0)
    reward = log_ratio(p, q)
    for alpha in (-1.0, 0, 0.5, 1, 2.0):
        shifted = reward + 7.0
        values = [estimate(Renyi(alpha=alpha), of_rewards(r, r.expand(SIZE, -1), 1.0, p, q)) for r in (reward, shifted)]
        assert values[0] == pytest.approx(values[1])


@pytest.mark.parametrize("limit", [0, 1])
def test_renyi_at_its_limits_is_the_limit(limit: int) -> None:
    p, q = pair(1)
    reward = torch.linspace(-1.0, 1.0, SIZE, dtype=torch.float64)
    at, *around = (
        estimate(Renyi(alpha=alpha), of_rewards(reward, reward.expand(SIZE, -1), 1.0, p, q))
        for alpha in (limit, limit - 0.01, limit + 0.01)
    )
    assert sum(around) / 2 == pytest.approx(at, abs=1e-4)
    assert min(around) < at < max(around)


def test_divergences_are_zero_between_equals() -> None:
    p, zero = torch.full((SIZE,), 0.25, dtype=torch.float64), torch.zeros(SIZE, dtype=torch.float64)
    for objective, *_ in SINGLE:
        assert estimate(objective, of_rewards(zero, zero.expand(SIZE, -1), 1.0, p, p)) == pytest.approx(0, abs=1e-15)


def test_normalisations_are_the_documented_ones() -> None:
    # Two distributions with nothing in common, nearly: JS → log 2, squared Hellinger → 1, χ² to the mixture → 1.
    p = torch.tensor([1 - 1e-9, 1e-9], dtype=torch.float64)
    assert float(jensen_shannon(p, p.flip(0))) == pytest.approx(math.log(2), abs=1e-6)
    assert float(hellinger(p, p.flip(0))) == pytest.approx(1.0, abs=1e-3)
    assert float(chi_squared_to_mixture(p, p.flip(0))) == pytest.approx(1.0, abs=1e-6)
