"""Statements 4 and 5: sppo's exact step, rock–paper–scissors, and the regularised game that it should settle in."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from games.random_games import FEW, ROCK_PAPER_SCISSORS, distribution, preference_table
from sparring.games import PreferenceGame, contraction_factor
from sparring.objectives import OBJECTIVES
from sparring.regularizers import REGULARIZERS, Regularized

REFERENCE = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
UNIFORM = torch.full((3,), 1 / 3, dtype=torch.float64)


def kl(weight, **options):
    return REGULARIZERS["reverse-kl"](weight=weight, **options)


@FEW
@given(st.integers(2, 6), st.integers(0, 1000), st.floats(0.2, 5.0))
def test_sppo_solves_its_equation(n, seed, eta):
    game = PreferenceGame(preference=preference_table(n, seed), reference=distribution(n, seed + 1))
    before, after = game.play(OBJECTIVES["sppo"](eta=eta), iterations=1).log_policies
    ratio = after - before
    target = eta * (game.preference @ before.exp() - 0.5)
    multiplier = (target - ratio) / ratio.exp()
    assert multiplier.max() - multiplier.min() < 1e-9
    assert multiplier.min() >= -1e-9  # Σ π_o e^{η(P−½)} ≥ 1 by Jensen: the bare target is never short of mass


@pytest.mark.parametrize(("eta", "bound"), [(0.1, 2e-5), (1.0, 1.5e-2)])
def test_sppo_is_nearly_multiplicative_weights(eta, bound):
    game = PreferenceGame(preference=ROCK_PAPER_SCISSORS, reference=REFERENCE)
    before, after = game.play(OBJECTIVES["sppo"](eta=eta), iterations=1).log_policies
    weights = torch.softmax(before + eta * game.preference @ before.exp(), dim=0)
    assert (after.exp() - weights).abs().max() < bound


def test_on_rock_paper_scissors_sppo_spirals_out_and_its_average_converges():
    play = PreferenceGame(preference=ROCK_PAPER_SCISSORS, reference=REFERENCE).play(
        OBJECTIVES["sppo"](eta=1.0), iterations=100
    )
    distance = (play.log_policies - UNIFORM.log()).norm(dim=-1)
    assert distance[-1] > 4 * distance[0]
    assert play.exploitability[-20:].max() > 0.3
    assert play.average_exploitability[-1] < 0.03


def test_near_the_uniform_policy_sppo_grows_by_the_known_factor():
    # There Δ = η K a / 3 with K's eigenvalues ±i√3/2: |1 + iη/√12|.
    game = PreferenceGame(preference=ROCK_PAPER_SCISSORS, reference=UNIFORM)
    factor = contraction_factor(game, OBJECTIVES["sppo"](eta=1.0), UNIFORM)
    assert factor == pytest.approx(math.sqrt(1 + 1 / 12), abs=1e-12)


@pytest.mark.parametrize(
    "options", [{}, {"estimator": "k1", "importance": True}, {"estimator": "k3", "importance": True}]
)
def test_rspo_reaches_the_regularised_equilibrium_on_rock_paper_scissors(options):
    game = PreferenceGame(preference=ROCK_PAPER_SCISSORS, reference=REFERENCE)
    play = game.play(OBJECTIVES["sppo"](eta=1.0), [kl(0.5, **options)], iterations=50)
    assert (play.policies[-1] - game.regularized_equilibrium(0.5)).abs().max() < 1e-8
    assert abs(game.regularized_exploitability(play.policies[-1], 0.5)) < 1e-14


@FEW
@given(st.integers(0, 1000), st.sampled_from([0.5, 1.0]))
def test_rspo_reaches_the_regularised_equilibrium_in_random_games(seed, weight):
    game = PreferenceGame(preference=preference_table(8, seed), reference=distribution(8, seed + 1))
    play = game.play(OBJECTIVES["sppo"](eta=1.0), [kl(weight)], iterations=45)
    assert (play.policies[-1] - game.regularized_equilibrium(weight)).abs().max() < 1e-8


@pytest.mark.parametrize(("estimator", "kind"), [("k2", "reverse-kl"), ("k3", "forward-kl")])
def test_without_weights_k2_plays_the_reverse_and_k3_the_forward_game(estimator, kind):
    game = PreferenceGame(preference=ROCK_PAPER_SCISSORS, reference=REFERENCE)
    play = game.play(OBJECTIVES["sppo"](), [kl(0.5, estimator=estimator)], iterations=50)
    other = {"reverse-kl": "forward-kl", "forward-kl": "reverse-kl"}[kind]
    assert (play.policies[-1] - game.regularized_equilibrium(0.5, kind)).abs().max() < 1e-8
    assert (play.policies[-1] - game.regularized_equilibrium(0.5, other)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("options", "tau"),
    [({}, 0.5), ({"estimator": "k1"}, 0.5), ({"estimator": "k1", "importance": False}, 0.25)],
)
def test_chi_squared_plays_its_own_game_and_without_weights_the_one_at_half_the_penalty(options, tau):
    game = PreferenceGame(preference=ROCK_PAPER_SCISSORS, reference=REFERENCE)
    penalty = REGULARIZERS["chi-squared"](weight=0.5, **options)
    play = game.play(OBJECTIVES["sppo"](), [penalty], iterations=50)
    assert (play.policies[-1] - game.regularized_equilibrium(tau, "chi-squared")).abs().max() < 1e-8


@pytest.mark.parametrize("weight", [0.05, 0.1, 0.25, 0.5, 1.0])
def test_the_boundary_on_rock_paper_scissors(weight):
    """With λ the factor is √(1 + η²/12)/(1 + λ): the last iterate converges for η² < 12 λ(2 + λ)."""
    game = PreferenceGame(preference=ROCK_PAPER_SCISSORS, reference=UNIFORM)
    boundary = math.sqrt(12 * weight * (2 + weight))
    for share in (0.5, 1.0, 2.0):
        objective = Regularized(OBJECTIVES["sppo"](eta=share * boundary), [kl(weight)])
        predicted = math.sqrt(1 + (share * boundary) ** 2 / 12) / (1 + weight)
        assert contraction_factor(game, objective, UNIFORM) == pytest.approx(predicted, abs=1e-10)


@pytest.mark.parametrize(("share", "converges"), [(0.85, True), (1.15, False)])
def test_the_play_agrees_with_the_boundary(share, converges):
    game = PreferenceGame(preference=ROCK_PAPER_SCISSORS, reference=torch.tensor([0.36, 0.33, 0.31]))
    eta = share * math.sqrt(12 * 0.5 * 2.5)
    play = game.play(OBJECTIVES["sppo"](eta=eta), [kl(0.5)], iterations=120)
    distance = (play.policies - game.regularized_equilibrium(0.5 / eta)).abs().amax(-1)
    assert (distance[-1] < 1e-3 * distance[0]) == converges
    if not converges:
        assert distance[-10:].min() > 2 * distance[0]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (torch.zeros(3, 3), "P_ij"),
        (torch.zeros(2, 3), r"shape \[3, 3\]"),
        (ROCK_PAPER_SCISSORS * 2 - 0.5, "in"),
    ],
)
def test_nonsense_is_refused(table, message):
    with pytest.raises(ValueError, match=message):
        PreferenceGame(preference=table, reference=REFERENCE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_a_table_may_be_rounded_as_its_dtype_is_and_then_sums_to_one(dtype):
    table = torch.tensor([[0.5, 0.9, 0.2], [0.1, 0.5, 0.6], [0.8, 0.4, 0.5]], dtype=dtype)
    game = PreferenceGame(preference=table, reference=REFERENCE)
    assert (game.preference + game.preference.T - 1.0).abs().max() < 1e-15
    assert (game.preference - table.double()).abs().max() <= 2 * torch.finfo(dtype).eps
    with pytest.raises(ValueError, match="P_ij"):
        PreferenceGame(preference=table + 0.02 * torch.eye(3, dtype=dtype), reference=REFERENCE)
