"""RAFT: its value by hand, and the policy at which it rests."""

from __future__ import annotations

import torch

from sparring.log_ratios import LogRatios
from sparring.objectives import OBJECTIVES

RAFT = OBJECTIVES["raft"]()


def test_the_best_samples_share_the_place_of_an_expert() -> None:
    log_probs = torch.tensor([[-1.0, -2.0, -4.0, -8.0], [-1.0, -2.0, -4.0, -8.0], [-1.0, -2.0, -4.0, -8.0]])
    log_probs.requires_grad_()
    win_rates = torch.tensor([[0.25, 0.75, 0.75, 0.25], [0.125, 0.5, 0.875, 0.5], [0.5, 0.5, 0.5, 0.5]])
    output = RAFT(LogRatios(policy_generated=log_probs, preference=win_rates))
    assert output.loss.tolist() == [3.0, 4.0, 0.0]
    assert output.metrics["log_likelihood/chosen"].tolist() == [-3.0, -4.0, 0.0]
    output.loss.sum().backward()
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == [[0.0, -0.5, -0.5, 0.0], [0.0, 0.0, -1.0, 0.0], [0.0] * 4]


def test_it_rests_at_the_opponent_restricted_to_its_best_responses() -> None:
    opponent = torch.tensor([[0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)
    win_rates = torch.tensor([[0.7, 0.3, 0.7, 0.3]], dtype=torch.float64)
    logits = torch.zeros_like(opponent, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=500, tolerance_grad=1e-12, tolerance_change=0.0)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        log_policy = logits.log_softmax(-1)
        ratios = LogRatios(policy_generated=log_policy, preference=win_rates, generated_weight=opponent)
        value = RAFT(ratios).loss.sum()
        value.backward()
        return value

    for _ in range(3):
        optimizer.step(loss)
    torch.testing.assert_close(
        logits.detach().softmax(-1)[0, [0, 2]], torch.tensor([0.25, 0.75]).double(), atol=1e-4, rtol=0
    )
