"""DFT on every sequence of two tokens: its published gradient, where it ends, and the same in the trainer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import TrainingArguments

from objectives.exact import best_response, over_prompts
from sparring.games import ImitationGame
from sparring.games.newton import NoMinimiserError
from sparring.log_ratios import LogRatios
from sparring.logprobs import per_token_log_probs
from sparring.objectives import Dft
from sparring.tokens import TokenLogProbs
from sparring.trainer.trainer import SelfPlayTrainer
from tiny import tiny_model

V = 3
# π_E of the first token, and of the second after each first one: its likeliest tokens are 1, then 2, 0 and 2.
FIRST = torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64)
SECOND = torch.tensor([[0.2, 0.3, 0.5], [0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], dtype=torch.float64)


def sequences(first: Tensor, second: Tensor) -> LogRatios:
    """All V² sequences of two tokens as expert's responses, weighted by π_E; the policy has logits `[V]`, `[V, V]`."""
    one, two = first.log_softmax(-1), second.log_softmax(-1)
    tokens = torch.stack([one.repeat_interleave(V), two.flatten()], dim=-1)
    return LogRatios(
        expert_tokens=TokenLogProbs.unpadded(tokens),
        policy_expert=tokens.sum(-1),
        expert_weight=(FIRST.unsqueeze(-1) * SECOND).flatten(),
    )


def start(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((V,), (V, V))
    return tuple(torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes)  # type: ignore[return-value]


@pytest.mark.parametrize("seed", range(3))
def test_its_gradient_is_the_published_one_and_that_of_the_expected_probability_of_a_token(seed: int) -> None:
    policy = start(seed)
    given = sequences(*policy)
    gradient = torch.autograd.grad(over_prompts(given, Dft()(given).loss), policy, retain_graph=True)
    tokens = given.require_tokens("expert_tokens")
    published = -(tokens.log_probs.exp().detach() * tokens.log_probs).sum(-1)
    assert torch.allclose(Dft()(given).metrics["loss/published"], published)
    # By hand: −E_E[π(y_1)] − E_E[π(y_2|y_1)].
    by_hand = -(FIRST * policy[0].softmax(-1)).sum() - (FIRST * (SECOND * policy[1].softmax(-1)).sum(-1)).sum()
    for other in (over_prompts(given, published), by_hand):
        for one, two in zip(gradient, torch.autograd.grad(other, policy, retain_graph=True), strict=True):
            assert torch.allclose(one, two, atol=1e-14)


def test_it_ends_at_the_experts_likeliest_tokens_and_not_at_the_expert() -> None:
    policy = start(0)
    for _ in range(1000):
        given = sequences(*policy)
        gradients = torch.autograd.grad(over_prompts(given, Dft()(given).loss), policy)
        policy = tuple((p - 20.0 * g).detach().requires_grad_() for p, g in zip(policy, gradients, strict=True))  # type: ignore[assignment]
    assert float(policy[0].softmax(-1)[1].detach()) > 0.99
    assert policy[1].softmax(-1).argmax(-1).tolist() == [2, 0, 2]
    assert float(policy[1].softmax(-1).amax(-1).min().detach()) > 0.95


def test_in_the_exact_game_the_minimum_is_a_vertex() -> None:
    expert = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    game = ImitationGame(expert=expert, initial=torch.tensor([0.2, 0.4, 0.4]))
    with pytest.raises(NoMinimiserError, match="the minimum lies at infinity"):
        game.play(Dft(), iterations=1)

    def loss(log_policy: Tensor) -> Tensor:
        given = LogRatios(expert_tokens=TokenLogProbs.unpadded(log_policy.unsqueeze(-1)), expert_weight=expert)
        return over_prompts(given, Dft()(given).loss)

    found = best_response(loss, game.initial.log())
    assert found.exp()[0] > 1 - 1e-6


def test_the_trainer_gives_it_the_tokens_of_the_experts_response(tmp_path: Path) -> None:
    rows = [
        {"prompt_ids": [5, 6], "expert_ids": [9, 7, 2], "generated_ids": []},
        {"prompt_ids": [4], "expert_ids": [8, 2], "generated_ids": []},
    ]
    args = TrainingArguments(
        output_dir=str(tmp_path), max_steps=1, learning_rate=1e-3, report_to=[], save_strategy="no", use_cpu=True
    )
    model = tiny_model()
    trainer = SelfPlayTrainer(model, objective=Dft(), args=args, train_dataset=rows)
    with torch.no_grad():
        batch = trainer.data_collator(trainer.train_dataset.items)
        loss, output = trainer.compute_loss(model, batch, return_outputs=True)
        terms = per_token_log_probs(model, [[5, 6], [4]], [[[9, 7, 2]], [[8, 2]]])
    expected = torch.stack([-answers[0].exp().sum() for answers in terms])
    assert torch.allclose(output.loss, expected)
    assert loss.item() == pytest.approx(expected.mean().item())
    trainer.train()
