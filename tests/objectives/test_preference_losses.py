"""Preference losses and RSPO's penalties against numpy: value and gradient in log π_θ, derived by hand, float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sparring.log_ratios import LogRatios
from sparring.objectives import OBJECTIVES
from sparring.regularizers import REGULARIZERS, Regularized

K = 4
Array = np.ndarray


def sample(seed: int) -> dict[str, Array]:
    """One prompt: log-probs of K responses under the policy, the opponent and the reference, and a judge's table."""
    random = np.random.default_rng(seed)
    upper = np.triu(random.uniform(size=(K, K)), 1)
    table = upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(K)
    logs = {name: random.normal(-3, 1, K) for name in ("policy", "opponent", "reference")}
    return logs | {"table": table, "win_rate": table.mean(1)}


def evaluate(objective: Any, at: dict[str, Array]) -> tuple[float, Array]:
    policy = torch.tensor(at["policy"], requires_grad=True)
    ratios = LogRatios(
        generated=(policy - torch.tensor(at["opponent"]))[None],
        reference_generated=(policy - torch.tensor(at["reference"]))[None],
        policy_generated=policy[None],
        preference=torch.tensor(at["win_rate"])[None],
        pairwise=torch.tensor(at["table"])[None],
    )
    loss = objective(ratios).loss.sum()
    loss.backward()
    return loss.item(), policy.grad.numpy()


def on_pairs(reward: Array, slope: float, weight: Array, link: Any, link_slope: Any) -> tuple[float, Array]:
    """Σ ω_ij ℓ(r_i − r_j) and its gradient, with dr_i/d log π_i = slope."""
    loss, gradient = 0.0, np.zeros(K)
    for i in range(K):
        for j in range(K):
            margin = reward[i] - reward[j]
            loss += weight[i, j] * link(margin)
            gradient[i] += slope * weight[i, j] * link_slope(margin)
            gradient[j] -= slope * weight[i, j] * link_slope(margin)
    return loss, gradient


def pair_weight(at: dict[str, Array], pairs: str) -> Array:
    if pairs == "all":
        return 2 * at["table"] / K**2
    weight = np.zeros((K, K))
    weight[at["win_rate"].argmax(), at["win_rate"].argmin()] = 1.0
    return weight


def logistic(margin: float) -> tuple[float, float]:
    return np.log1p(np.exp(-margin)), -1 / (1 + np.exp(margin))


def dpo(at: dict[str, Array], pairs: str) -> tuple[float, Array]:
    reward = 0.3 * (at["policy"] - at["opponent"])
    return on_pairs(reward, 0.3, pair_weight(at, pairs), lambda m: logistic(m)[0], lambda m: logistic(m)[1])


def ipo(at: dict[str, Array], pairs: str) -> tuple[float, Array]:
    reward, target = at["policy"] - at["opponent"], 1 / (2 * 0.4)
    return on_pairs(reward, 1.0, pair_weight(at, pairs), lambda m: (m - target) ** 2, lambda m: 2 * (m - target))


def inpo(at: dict[str, Array], pairs: str) -> tuple[float, Array]:
    reward = at["policy"] - 0.25 * at["reference"] - 0.75 * at["opponent"]
    target = 1 / (2 * 0.8)
    return on_pairs(reward, 1.0, pair_weight(at, pairs), lambda m: (m - target) ** 2, lambda m: 2 * (m - target))


PAIRED = {"dpo": (dpo, {"beta": 0.3}), "ipo": (ipo, {"tau": 0.4}), "inpo": (inpo, {"eta": 0.8, "tau": 0.2})}


@pytest.mark.parametrize("pairs", ["best-worst", "all"])
@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize("seed", range(3))
def test_pairs(name: str, pairs: str, seed: int) -> None:
    expected, settings = PAIRED[name]
    at = sample(seed)
    loss, gradient = evaluate(OBJECTIVES[name](pairs=pairs, **settings), at)
    assert loss == pytest.approx(expected(at, pairs)[0], rel=1e-12)
    assert gradient == pytest.approx(expected(at, pairs)[1], rel=1e-12, abs=1e-14)


def test_over_all_pairs_inpo_is_the_soft_form_plus_a_constant() -> None:
    """(m − (P_ij − P_ji)/(2η))² and the expectation of (m ∓ 1/(2η))² over the verdict have the same gradient."""
    at, eta = sample(5), 0.8
    reward = at["policy"] - 0.25 * at["reference"] - 0.75 * at["opponent"]
    margin, table = reward[:, None] - reward[None], at["table"]
    soft = (margin - (table - table.T) / (2 * eta)) ** 2
    constant = (1 - (table - table.T) ** 2) / (2 * eta) ** 2
    loss, _ = evaluate(OBJECTIVES["inpo"](eta=eta, tau=0.2, pairs="all"), at)
    assert loss == pytest.approx((soft + constant).mean(), rel=1e-12)


def test_nash_md_is_a_variance() -> None:
    at = sample(1)
    residual = at["policy"] - at["opponent"] - 0.7 * at["win_rate"]
    loss, gradient = evaluate(OBJECTIVES["nash-md"](eta=0.7), at)
    assert loss == pytest.approx(0.5 * residual.var(), rel=1e-12)
    assert gradient == pytest.approx((residual - residual.mean()) / K, rel=1e-12)


@pytest.mark.parametrize("name", ["nash-md", "dpo", "ipo"])
def test_a_missing_normaliser_of_the_opponent_changes_nothing(name: str) -> None:
    at = sample(2)
    shifted = at | {"opponent": at["opponent"] + 3.0}
    loss, gradient = evaluate(OBJECTIVES[name](), at)
    assert evaluate(OBJECTIVES[name](), shifted)[0] == pytest.approx(loss, rel=1e-12)
    assert evaluate(OBJECTIVES[name](), shifted)[1] == pytest.approx(gradient, rel=1e-12)


def test_ties_share_a_place_and_where_all_tie_nobody_wins() -> None:
    at = sample(3) | {"win_rate": np.array([0.7, 0.7, 0.4, 0.1])}
    delta = 0.1 * (at["policy"] - at["opponent"])
    loss, _ = evaluate(OBJECTIVES["dpo"](), at)
    assert loss == pytest.approx(np.mean([logistic(delta[i] - delta[3])[0] for i in (0, 1)]), rel=1e-12)
    even = at | {"win_rate": np.full(K, 0.5)}
    loss, gradient = evaluate(OBJECTIVES["dpo"](), even | {"policy": at["opponent"]})
    assert loss == pytest.approx(np.log(2), rel=1e-12)
    assert gradient == pytest.approx(np.zeros(K), abs=1e-15)
    loss, gradient = evaluate(OBJECTIVES["ipo"](), even)
    margin = 10 * delta[:, None] - 10 * delta[None]
    assert loss == pytest.approx((margin**2).mean() + 0.25, rel=1e-12)
    assert gradient == pytest.approx(4 * margin.mean(1) / K, rel=1e-12)


def test_a_tie_of_two_rewards_is_half_right() -> None:
    at = sample(4)
    ratios = LogRatios(generated=torch.zeros(1, K, dtype=torch.float64), preference=torch.tensor(at["win_rate"])[None])
    metrics = OBJECTIVES["dpo"]()(ratios).metrics
    assert metrics["rewards/accuracies"].item() == 0.5
    assert metrics["rewards/margins"].item() == 0.0
    known = LogRatios(generated=torch.tensor([[2.0, -1.0]]), preference=torch.tensor([[0.9, 0.1]]))
    metrics = OBJECTIVES["dpo"](beta=0.5)(known).metrics
    assert [metrics[f"rewards/{name}"].item() for name in ("chosen", "rejected", "margins", "accuracies")] == [
        *(1.0, -0.5, 1.5, 1.0)
    ]


def penalties(at: dict[str, Array]) -> dict[str, tuple[dict[str, Any], float, Array]]:
    """RSPO's penalties per prompt, and their gradients in log π_θ: settings, value, gradient."""
    to_opponent, to_reference = at["policy"] - at["opponent"], at["policy"] - at["reference"]
    weight, ratio = np.exp(to_opponent), np.exp(to_reference)
    return {
        "reverse-kl": ({}, (0.5 * to_reference**2).mean(), to_reference / K),
        "reverse-kl, importance": (
            {"estimator": "k3", "importance": True},
            (weight * (1 / ratio - 1 + to_reference)).mean(),
            weight * (1 / ratio - 1 + to_reference + 1 - 1 / ratio) / K,
        ),
        "forward-kl": ({"samples": "generated"}, (1 / ratio).mean(), -1 / ratio / K),
        "chi-squared": ({}, (weight * (ratio - 2 + 1 / ratio)).mean(), weight * (2 * ratio - 2) / K),
        "chi-squared, k1": ({"estimator": "k1"}, (weight * (ratio - 1)).mean(), weight * (2 * ratio - 1) / K),
    }


@pytest.mark.parametrize("name", penalties(sample(0)))
def test_rspo(name: str) -> None:
    at = sample(6)
    settings, value, slope = penalties(at)[name]
    residual = at["policy"] - at["opponent"] - 2.0 * (at["win_rate"] - 0.5)
    penalty = REGULARIZERS[name.split(",", maxsplit=1)[0]](weight=0.3, **settings)
    loss, gradient = evaluate(Regularized(OBJECTIVES["sppo"](eta=2.0), [penalty]), at)
    assert loss == pytest.approx(0.5 * (residual**2).mean() + 0.3 * value, rel=1e-12)
    assert gradient == pytest.approx(residual / K + 0.3 * slope, rel=1e-12, abs=1e-14)
