"""TPAW: by hand, as SPIN, against a team, and where its guard stops the exact game."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from games.random_games import distribution
from objectives.exact import over_prompts
from sparring.games import ImitationGame
from sparring.games.stability import NoFixedPointError, contraction_factor, stability
from sparring.log_ratios import LogRatios
from sparring.objectives import Spin, Tpaw
from sparring.opponents import Team


def softplus(t: float) -> float:
    return math.log1p(math.exp(t))


def test_the_equation_by_hand() -> None:
    expert, generated = [0.4, -0.2, 0.0], [[-0.5, 0.1], [0.3, 0.6], [-1.0, 0.2]]
    output = Tpaw(beta=2.0, guard=6.0, sharpness=0.5)(
        LogRatios(team_expert=torch.tensor([expert]).double(), team_generated=torch.tensor([generated]).double())
    )
    reward, rewards = [2.0 * value for value in expert], [[2.0 * value for value in row] for row in generated]
    margins = [r - sum(row) / 2 for r, row in zip(reward, rewards, strict=True)]
    total = sum(math.exp(-0.5 * margin) for margin in margins)
    loss = 0.0
    for r, row, margin in zip(reward, rewards, margins, strict=True):
        guard = 6.0 if r <= 0 else 1.0
        loss += math.exp(-0.5 * margin) / total * sum(softplus(value - guard * r) for value in row) / 2
    assert output.loss.item() == pytest.approx(loss, rel=1e-6)
    assert output.metrics["team/guarded"].item() == pytest.approx(2 / 3)
    assert output.metrics["team/newest"].item() == pytest.approx(math.exp(-0.5 * margins[0]) / total, rel=1e-6)
    assert output.metrics["rewards/margins"].item() == pytest.approx(margins[0], rel=1e-6)


def test_the_gradient_is_that_of_the_same_sum_with_its_weights_held() -> None:
    generator = torch.Generator().manual_seed(0)
    expert = torch.randn(4, 3, generator=generator, dtype=torch.float64).requires_grad_()
    generated = torch.randn(4, 3, 2, generator=generator, dtype=torch.float64).requires_grad_()
    weight = (-0.5 * (expert - generated.mean(-1))).softmax(-1).detach()
    guard = torch.where(expert <= 0, 6.0, 1.0).detach()
    held = (weight * torch.nn.functional.softplus(generated - (guard * expert).unsqueeze(-1)).mean(-1)).sum()
    loss = Tpaw()(LogRatios(team_expert=expert, team_generated=generated)).loss.sum()
    assert loss.item() == pytest.approx(held.item())
    found, wanted = (torch.autograd.grad(each, (expert, generated)) for each in (loss, held))
    assert all(torch.allclose(one, other) for one, other in zip(found, wanted, strict=True))


def test_one_member_without_a_guard_is_spin() -> None:
    expert, generated = torch.randn(5).double(), torch.randn(5, 3).double()
    alone = LogRatios(team_expert=expert.unsqueeze(-1), team_generated=generated.unsqueeze(1))
    spin = Spin(beta=0.7)(LogRatios(expert=expert, generated=generated))
    tpaw = Tpaw(beta=0.7, guard=1.0)(alone)
    assert torch.allclose(tpaw.loss, spin.loss)
    assert all(torch.allclose(value, tpaw.metrics[name]) for name, value in spin.metrics.items() if "/" in name)


EXPERT = distribution(4, 0)


@pytest.mark.parametrize("beta", [0.4, 1.5])
def test_without_a_guard_a_team_averages_as_fictitious_play_does(beta: float) -> None:
    """To first order e_{t+1} = (1 − 1/β) × the mean of the errors of its members: three, once there are so many."""
    near = torch.softmax(EXPERT.log() + 1e-4 * distribution(4, 1), 0)
    game = ImitationGame(expert=EXPERT, initial=near)
    play = game.play(Tpaw(beta=beta, guard=1.0, sharpness=0.0), Team(), iterations=6)
    errors = play.log_policies - EXPERT.log()
    errors = errors - errors.mean(-1, keepdim=True)
    for t in range(6):
        mean = errors[max(0, t - 2) : t + 1].mean(0)
        assert torch.allclose(errors[t + 1], (1 - 1 / beta) * mean, atol=1e-7)


def test_a_team_is_steadier_than_one_policy() -> None:
    """At β = 0.3 the exact iteration of SPIN diverges, and that of three members (β > ¼) converges."""
    near = torch.softmax(EXPERT.log() + 0.01 * distribution(4, 1), 0)
    game = ImitationGame(expert=EXPERT, initial=near)
    objective = Tpaw(beta=0.3, guard=1.0, sharpness=0.0)
    alone, team = (game.play(objective, Team(size=size), iterations=40).log_error for size in (1, 3))
    assert alone[-5:].max() > 5 * alone[0]
    assert team[-5:].max() < 0.5 * team[0]


def value(objective: Tpaw, game: ImitationGame, policy: Tensor, opponent: Tensor) -> float:
    given = game.ratios(policy.log(), opponent.log(), opponent)
    return float(over_prompts(given, objective(given).loss))


def best_of_two(expert: float, opponent: float, guard: float) -> float:
    """The probability of the first of two outcomes that minimises the loss, by trying many."""
    game = ImitationGame(expert=torch.tensor([expert, 1 - expert]), initial=torch.tensor([opponent, 1 - opponent]))
    objective = Tpaw(guard=guard)
    near = [opponent + step * 1e-3 for step in range(-10, 11)]
    tried = [opponent, *near, *(torch.arange(1, 100) / 100).tolist()]
    losses = [value(objective, game, torch.tensor([p, 1 - p]).double(), game.initial) for p in tried]
    return tried[losses.index(min(losses))]


@pytest.mark.parametrize(
    ("expert", "opponent", "guard", "moves"),
    [
        # The ratios π_E/π_o are 1.6 and 0.4, four times apart; then 1.8 and 0.2, nine times.
        (0.8, 0.5, 6.0, False),
        (0.8, 0.5, 3.9, True),
        (0.8, 0.5, 4.1, False),
        (0.9, 0.5, 6.0, True),
        (0.9, 0.5, 9.1, False),
        (0.8, 0.5, 1.0, True),
    ],
)
def test_the_guard_holds_the_exact_game_where_the_ratios_to_the_expert_are_near_each_other(
    expert: float, opponent: float, guard: float, moves: bool
) -> None:
    apart = (expert / opponent) / ((1 - expert) / (1 - opponent))
    assert (apart > guard) == moves
    best = best_of_two(expert, opponent, guard)
    assert (best != opponent) == moves
    if guard == 1.0:
        # SPIN at β = 1: the expert in one step.
        assert best == pytest.approx(expert, abs=1e-3)
    elif moves:
        # Towards the expert, and not all the way.
        assert opponent < best < expert


def test_at_the_expert_the_loss_has_a_kink_so_that_no_stability_number_is_told() -> None:
    game = ImitationGame(expert=EXPERT, initial=EXPERT)
    with pytest.raises(NoFixedPointError, match="kink"):
        contraction_factor(game, Tpaw(), EXPERT)
    assert stability(Tpaw()) is None
    # Without the guard it is SPIN against the newest member.
    assert contraction_factor(game, Tpaw(beta=0.8, guard=1.0), EXPERT) == pytest.approx(1 / 0.8 - 1)
