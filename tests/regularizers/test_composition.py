from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from objectives.exact import best_response
from sparring.log_ratios import LogRatios
from sparring.objectives import OBJECTIVES, Spin, Sppo
from sparring.regularizers import ChiSquared, Entropy, ForwardKl, RaftPenalty, Regularized, ReverseKl, SftPenalty


def batch() -> LogRatios:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return LogRatios(
        generated=draw(3, 2),
        preference=draw(3, 2).sigmoid(),
        reference_generated=draw(3, 2),
        policy_expert=draw(3),
        expert_length=torch.tensor([1.0, 2.0, 4.0]),
    )


def test_losses_add_up_and_metrics_merge() -> None:
    objective, leash, likelihood = Sppo(), ReverseKl(weight=0.5), SftPenalty(weight=0.1)
    both = Regularized(objective, [leash, likelihood])
    output, ratios = both(batch()), batch()
    assert torch.equal(output.loss, objective(ratios).loss + leash(ratios).loss + likelihood(ratios).loss)
    assert set(output.metrics) == {
        "log_ratios/generated",
        "loss/normalized",
        "preferences/decided",
        "preferences/generated",
        "residuals/generated",
        "regularizer/reverse-kl",
        "regularizer/sft",
    }
    assert torch.allclose(0.5 * output.metrics["regularizer/reverse-kl"], leash(ratios).loss)


def test_needs_what_its_parts_need() -> None:
    both = Regularized(Sppo(), [ReverseKl(weight=1.0, importance=True), SftPenalty(weight=1.0, length_normalized=True)])
    assert both.requires == {"generated", "preference", "reference_generated", "policy_expert", "expert_length"}


def test_without_regularizers_it_is_the_objective() -> None:
    alone = Regularized(Sppo(), [])
    assert torch.equal(alone(batch()).loss, Sppo()(batch()).loss)
    assert alone.requires == Sppo.requires
    assert alone.stability is None
    assert Regularized(Spin(), []).stability == Spin().stability


def test_a_regularizer_listed_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="'reverse-kl' is listed 2 times; list it once with the summed weight"):
        Regularized(Sppo(), [ReverseKl(weight=1.0), ReverseKl(weight=2.0, estimator="k3")])


def test_sft_divides_by_the_length_when_asked() -> None:
    ratios = batch()
    assert torch.equal(SftPenalty(weight=2.0)(ratios).loss, -2.0 * ratios.policy_expert)
    normalized = SftPenalty(weight=2.0, length_normalized=True)(ratios).loss
    assert torch.equal(normalized, -2.0 * ratios.policy_expert / ratios.expert_length)


def test_raft_beside_dpo_is_the_loss_of_iterative_rpo() -> None:
    """By hand, two prompts: of the first the second sample is chosen, of the other none, since all tie."""
    log_policy = torch.tensor([[-6.0, -4.0, -8.0], [-1.0, -2.0, -3.0]])
    ratios = LogRatios(
        generated=torch.tensor([[0.5, 1.0, 0.25], [1.0, 2.0, 3.0]]),
        policy_generated=log_policy,
        generated_length=torch.tensor([[3.0, 2.0, 4.0], [1.0, 1.0, 1.0]]),
        preference=torch.tensor([[0.5, 0.75, 0.25], [0.5, 0.5, 0.5]]),
    )
    dpo = OBJECTIVES["dpo"](beta=2.0)
    with_anchor = Regularized(dpo, [RaftPenalty(weight=3.0, length_normalized=True)])(ratios)
    assert (with_anchor.loss - dpo(ratios).loss).tolist() == [3.0 * 4.0 / 2.0, 0.0]
    assert dpo(ratios).loss[0].item() == pytest.approx(math.log1p(math.exp(-2.0 * (1.0 - 0.25))))
    assert with_anchor.metrics["regularizer/raft"].tolist() == [2.0, 0.0]
    assert RaftPenalty(weight=1.0)(ratios).loss.tolist() == [4.0, 0.0]


@pytest.mark.parametrize(
    ("value", "delta", "expected"),
    [
        (ReverseKl(weight=1.0, estimator="k2", importance=True, clip=2.0), 5.0, 0.5 * torch.tensor(2.0).exp()),
        (ChiSquared(weight=1.0, estimator="k1", clip=2.0), 5.0, torch.tensor(2.0).exp() * torch.tensor(1.0).expm1()),
        # e^{Δ − δ} is capped by itself.
        (ChiSquared(weight=1.0, clip=2.0), 5.0, torch.tensor(2.0).exp() * (torch.tensor(1.0).exp() - 2.0 + 1.0)),
        (Entropy(weight=1.0, clip=2.0), 5.0, -3.0 * torch.tensor(2.0).exp()),
        (ForwardKl(weight=1.0, samples="generated", importance=True, clip=2.0), 5.0, -torch.tensor(2.0).exp()),
    ],
)
def test_clip_caps_the_importance_weight(value: ReverseKl, delta: float, expected: torch.Tensor) -> None:
    ratios = LogRatios(
        generated=torch.tensor([[delta]]),
        reference_generated=torch.tensor([[1.0]]),
        policy_generated=torch.tensor([[-3.0]]),
    )
    assert value(ratios).loss.item() == pytest.approx(float(expected))


def test_k3_goes_on_by_its_tangent() -> None:
    value = ReverseKl(weight=1.0, estimator="k3", clip=2.0)
    log_ratio = torch.tensor([[-5.0]], requires_grad=True)
    loss = value(LogRatios(reference_generated=log_ratio)).loss.sum()
    loss.backward()
    edge = float(torch.tensor(2.0).exp())
    assert loss.item() == pytest.approx(edge * (1.0 + 3.0) - 1.0 - 5.0, rel=1e-6)
    assert log_ratio.grad.item() == pytest.approx(1.0 - edge, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "force"),
    [
        ({}, lambda log_ratio: log_ratio),
        ({"estimator": "k3", "importance": True}, lambda log_ratio: log_ratio),
        ({"estimator": "k1", "importance": True}, lambda log_ratio: log_ratio),
        ({"estimator": "k3"}, lambda log_ratio: -torch.exp(-log_ratio)),
    ],
)
def test_rspo_settles_where_the_gradient_of_its_estimator_balances_the_preferences(
    options: dict[str, Any], force: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """P(y ≻ π)/τ = force(δ) + const: force is δ for the reverse KL, −e^−δ = −π_ref/π for the forward KL."""
    generator = torch.Generator().manual_seed(0)
    skew = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    wins = torch.sigmoid(skew - skew.T)
    reference = torch.randn(5, generator=generator, dtype=torch.float64).log_softmax(0)
    objective, policy = Regularized(Sppo(eta=1.0), [ReverseKl(weight=0.5, **options)]), reference
    for _ in range(45):
        preference, opponent = wins @ policy.exp(), policy

        def loss(
            log_policy: torch.Tensor, opponent: torch.Tensor = opponent, preference: torch.Tensor = preference
        ) -> torch.Tensor:
            given = LogRatios(
                generated=(log_policy - opponent)[None],
                generated_weight=opponent.exp()[None],
                preference=preference[None],
                reference_generated=(log_policy - reference)[None],
            )
            return objective(given).loss.sum()

        policy = best_response(loss, policy)
    balance = wins @ policy.exp() / 0.5 - force(policy - reference)
    assert balance.max() - balance.min() < 1e-7
