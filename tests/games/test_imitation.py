"""Statements 1 to 3 of what is known exactly: spin, spif and space, with their rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from games.random_games import FEW, distribution, imitation_games
from sparring.games import ImitationGame
from sparring.games.newton import NoMinimiserError, minimise
from sparring.log_ratios import LogRatios
from sparring.objectives import OBJECTIVES
from sparring.types import Objective, ObjectiveOutput


def normalised(log_weights):
    return torch.log_softmax(log_weights, dim=-1)


@FEW
@given(imitation_games(), st.floats(0.4, 4.0))
def test_spin_is_the_geometric_step(game, beta):
    play = game.play(OBJECTIVES["spin"](beta=beta), iterations=2)
    for before, after in zip(play.log_policies[:-1], play.log_policies[1:], strict=True):
        predicted = normalised(before + (game.expert.log() - before) / beta)
        assert torch.allclose(after, predicted, atol=1e-9, rtol=0)


@FEW
@given(imitation_games())
def test_spin_takes_one_step_at_beta_one(game):
    play = game.play(OBJECTIVES["spin"](beta=1.0), iterations=1)
    assert play.log_error[1] < 1e-11
    assert play.kl[1] < 1e-14


@FEW
@given(imitation_games(), st.floats(0.6, 4.0))
def test_spin_converges_above_one_half_at_the_predicted_rate(game, beta):
    error = game.play(OBJECTIVES["spin"](beta=beta), iterations=6).log_error
    assert error[1:] == pytest.approx(abs(1 - 1 / beta) * error[:-1], rel=1e-6, abs=1e-9)


@FEW
@given(imitation_games())
def test_spin_has_period_two_at_one_half(game):
    policies = game.play(OBJECTIVES["spin"](beta=0.5), iterations=6).policies
    assert torch.allclose(policies[2:], policies[:-2], atol=1e-9)
    assert (policies[1] - policies[0]).abs().max() > 1e-3


@FEW
@given(imitation_games(), st.floats(0.2, 0.45))
def test_spin_diverges_below_one_half(game, beta):
    play = game.play(OBJECTIVES["spin"](beta=beta), iterations=60)
    assert play.log_error[1:-1] == pytest.approx((1 / beta - 1) * play.log_error[:-2], rel=1e-4)
    assert "below 1e-10" in play.stopped
    assert len(play.policies) < 61


@FEW
@given(imitation_games())
def test_spif_converges_to_third_order_at_ratio_two(game):
    error = game.play(OBJECTIVES["spif"](beta=0.5, reward_bound=1.0), iterations=5).log_error
    assert error[-1] < 1e-12
    # r*/β = 2 tanh(u/2) = u − u³/12 + …, u = log π_E/π_o: the error left over is cubic, better than quadratic.
    small = [(a, b) for a, b in pairwise(error.tolist()) if 1e-4 < a < 0.5]
    assert all(b < 0.5 * a**3 for a, b in small)


@FEW
@given(imitation_games(), st.sampled_from([0.5, 1.0, 1.5, 2.5, 3.0, 3.5]))
def test_spif_converges_linearly_below_four_at_the_predicted_rate(game, ratio):
    error = game.play(OBJECTIVES["spif"](beta=0.1, reward_bound=0.1 * ratio), iterations=30).log_error
    tail = error[error > 1e-9]
    assert tail[-1] < 0.05 * error[0]
    assert tail[-1] / tail[-2] == pytest.approx(abs(1 - ratio / 2), abs=0.02)


@pytest.mark.parametrize("ratio", [4.5, 6.0, 8.0, 12.0])
def test_spif_stays_bounded_but_does_not_converge_beyond_four(ratio):
    for seed in range(3):
        game = ImitationGame(expert=distribution(4, seed), initial=distribution(4, seed + 100))
        play = game.play(OBJECTIVES["spif"](beta=1.0, reward_bound=ratio), iterations=25)
        assert play.stopped is None
        assert play.log_error[-5:].min() > 0.2
        assert play.log_error.max() < max(float(play.log_error[0]), 0.5 * ratio)


@FEW
@given(imitation_games(), st.sampled_from([0.5, 1.0, 3.0]))
def test_space_takes_one_step_at_beta_one_for_every_mu(game, mu):
    play = game.play(OBJECTIVES["space"](beta=1.0, mu=mu), iterations=1)
    assert play.log_error[1] < 1e-10


@FEW
@given(imitation_games(), st.sampled_from([0.6, 0.8, 1.5, 2.0]), st.sampled_from([0.5, 1.0, 3.0]))
def test_space_converges_above_one_half_at_the_predicted_rate(game, beta, mu):
    error = game.play(OBJECTIVES["space"](beta=beta, mu=mu), iterations=25).log_error
    assert error[-1] < 1e-3
    tail = error[error > 1e-9]
    assert tail[-1] / tail[-2] == pytest.approx(abs(1 - 1 / beta), abs=0.01)


@pytest.mark.parametrize("beta", [0.45, 0.3, 0.2])
def test_space_cycles_below_one_half_without_running_away(beta):
    game = ImitationGame(expert=distribution(4, 0), initial=distribution(4, 100))
    play = game.play(OBJECTIVES["space"](beta=beta), iterations=30)
    assert play.stopped is None
    assert play.log_error[-5:].min() > 0.2
    assert play.log_error.max() < 2 / beta


def test_sft_reaches_the_expert_at_once():
    game = ImitationGame(expert=distribution(5, 1), initial=distribution(5, 2))
    assert game.play(OBJECTIVES["sft"](), iterations=1).log_error[1] < 1e-12


@dataclass(frozen=True, kw_only=True)
class OfMargin(Objective):
    """f(Δ_E − mean Δ_k), and g of it once the opponent is not the reference."""

    f: Callable[[torch.Tensor], torch.Tensor]
    g: Callable[[torch.Tensor], torch.Tensor] | None = None

    requires: ClassVar[frozenset[str]] = frozenset({"expert", "generated", "reference_expert"})

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        margin = ratios.require("expert") - ratios.mean_over_samples(ratios.require("generated"))
        moved = (ratios.require("reference_expert") - ratios.require("expert")).abs().max() > 1e-9
        return ObjectiveOutput(loss=(self.g if self.g is not None and moved else self.f)(margin))


LINEAR = OfMargin(f=lambda m: -m)
CLIPPED = OfMargin(f=lambda m: -m.clamp(-1.0, 1.0))


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        (OBJECTIVES["spin"](link="linear"), "linear and falls for ever"),
        (LINEAR, "linear and falls for ever"),
        (
            OBJECTIVES["spin"](link="hinge"),
            r"lowest at a kink, .* such as softplus\(1 − t\) in place of max\(0, 1 − t\)",
        ),
        (OfMargin(f=lambda m: (m - 1.0).abs()), "lowest at a kink"),
        (CLIPPED, "ends in a flat part, as past a clip"),
        (OfMargin(f=lambda m: (m - 1.0).square().clamp(max=0.5)), "ends in a flat part, as past a clip"),
        (OfMargin(f=lambda m: m.sqrt()), "is no finite number"),
    ],
)
def test_a_loss_without_a_smooth_minimum_says_why(objective, said):
    game = ImitationGame(expert=distribution(3, 1), initial=distribution(3, 2))
    with pytest.raises(NoMinimiserError, match=said):
        game.play(objective, iterations=1)


@dataclass(frozen=True, kw_only=True)
class Cauchy(Objective):
    """Spin with the link ½ log(1 + (1 − m)²) for m < 1, 0 above: smooth, and without curvature at m = 0."""

    requires: ClassVar[frozenset[str]] = frozenset({"expert", "generated"})

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        margin = ratios.require("expert").unsqueeze(-1) - ratios.require("generated")
        short = (1.0 - margin).clamp(min=0.0)
        return ObjectiveOutput(loss=ratios.mean_over_samples(0.5 * short.square().log1p()))


def test_an_inflection_at_the_start_is_no_kink():
    """KL by another program: numpy, BFGS from 81 starts."""
    game = ImitationGame(expert=torch.tensor([0.6, 0.3, 0.1]), initial=torch.tensor([0.2, 0.3, 0.5]))
    play = game.play(Cauchy(), iterations=40)
    assert play.stopped is None
    assert play.kl[:4].tolist() == pytest.approx([0.498, 0.0564, 0.0040, 0.0135], rel=0.01)
    # Near the expert the loss of a pair is ½ log(4 + t⁴): the step does not shrink with the error, and a cycle is left.
    assert sorted(play.kl[-2:].tolist()) == pytest.approx([0.0100, 0.0108], rel=0.01)


def test_the_minimum_of_a_loss_that_is_straight_at_first_is_found():
    def late(margin):
        return functional.huber_loss(margin, torch.full_like(margin, 3.0), delta=0.5, reduction="none")

    game = ImitationGame(expert=distribution(2, 1), initial=distribution(2, 2))
    log_policies = game.play(OfMargin(f=late), iterations=1).log_policies
    ratio = log_policies[1] - log_policies[0]

    def slope(at):
        return (at - 3.0).clamp(-0.5, 0.5)

    # The mean over π_o of Δ moves by as much as π_o weighs each outcome; both margins are on one line.
    difference, (opponent, _) = ratio[0] - ratio[1], log_policies[0].exp()
    margins = torch.stack([difference * (1.0 - opponent), -difference * opponent])
    moves = torch.stack([1.0 - opponent, -opponent])
    assert float((game.expert * slope(margins) * moves).sum()) == pytest.approx(0.0, abs=1e-11)
    assert float(difference.abs()) > 1.0


def test_a_minimum_of_the_fourth_order_is_no_flat_part():
    start = torch.zeros(2, dtype=torch.float64)
    assert torch.equal(minimise(lambda point: point.pow(4).sum(), start), start)


def test_what_was_played_before_there_was_no_minimum_is_kept():
    game = ImitationGame(expert=distribution(3, 1), initial=distribution(3, 2))
    square = OfMargin(f=lambda m: 0.5 * (m - 1.0).square())
    play = game.play(replace(square, g=LINEAR.f), iterations=5)
    assert play.stopped is not None
    assert play.stopped.startswith("iteration 1 has no best response: the expected loss is linear")
    first = game.play(square, iterations=1)
    assert torch.equal(play.log_policies, first.log_policies)
    assert torch.equal(play.loss, first.loss)


def test_the_distances_are_what_they_say():
    expert = torch.tensor([0.5, 0.5], dtype=torch.float64)
    initial = torch.tensor([0.25, 0.75], dtype=torch.float64)
    play = ImitationGame(expert=expert, initial=initial).play(OBJECTIVES["spin"](), iterations=0)
    assert play.kl.tolist() == pytest.approx([0.5 * math.log(4 / 3)])
    assert play.total_variation.tolist() == pytest.approx([0.25])
    assert play.chi_squared.tolist() == pytest.approx([0.25 + 0.0625 / 0.75])
    assert play.log_error.tolist() == pytest.approx([0.5 * math.log(3)])
    assert play.policies.shape == (1, 2)
    assert play.loss.shape == (0,)


@pytest.mark.parametrize(
    ("expert", "initial", "message"),
    [
        ([0.5, 0.5], [0.2, 0.3, 0.5], "2 outcomes"),
        ([1.0, 0.0], [0.5, 0.5], "expert must be positive"),
        ([0.5, 0.5], [0.5, 0.6], "initial must sum to 1"),
        ([1.0], [1.0], "n ≥ 2"),
    ],
)
def test_nonsense_is_refused(expert, initial, message):
    with pytest.raises(ValueError, match=message):
        ImitationGame(expert=torch.tensor(expert), initial=torch.tensor(initial))


@dataclass(frozen=True, kw_only=True)
class Misshapen(Objective):
    """A loss that is not one number a prompt."""

    wrong: Callable[[Tensor], object]

    requires: ClassVar[frozenset[str]] = frozenset({"expert", "generated"})

    def __call__(self, ratios):
        loss = self.wrong(ratios.require("generated").square())
        return loss if loss is None else ObjectiveOutput(loss=loss)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (Tensor.mean, ValueError, r"for B = 3 this one has shape \[\]"),
        (lambda loss: loss, ValueError, r"for B = 3 this one has shape \[3, 3\]"),
        (lambda loss: None, TypeError, "an objective returns an ObjectiveOutput, this one returned NoneType"),
    ],
)
def test_a_loss_of_another_shape_is_no_game(wrong, error, message):
    game = ImitationGame(expert=distribution(3, 0), initial=distribution(3, 1))
    with pytest.raises(error, match=message):
        game.play(Misshapen(wrong=wrong), iterations=1)
