"""What the pairwise objectives and nash-md converge to, in games where every expectation is a sum."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from games.random_games import FEW, ROCK_PAPER_SCISSORS, distribution, preference_table
from sparring.games import PreferenceGame, contraction_factor
from sparring.games.newton import NoMinimiserError
from sparring.objectives import OBJECTIVES
from sparring.opponents import OPPONENTS
from sparring.regularizers import REGULARIZERS

REFERENCE = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
UNIFORM = torch.full((3,), 1 / 3, dtype=torch.float64)
CYCLE = PreferenceGame(preference=ROCK_PAPER_SCISSORS, reference=REFERENCE)


def random_game(seed):
    return PreferenceGame(preference=preference_table(4, seed), reference=distribution(4, seed + 1))


def centred(log_policies):
    return log_policies - log_policies.mean(-1, keepdim=True)


def mixture(alpha):
    return OPPONENTS["geometric-mixture"](alpha=alpha)


@FEW
@given(st.integers(0, 1000), st.sampled_from([0.3, 1.0, 3.0]))
def test_one_step_of_nash_md_and_of_ipo_over_all_pairs_is_multiplicative_weights(seed, eta):
    game = random_game(seed)
    expected = centred(game.reference.log() + eta * game.preference @ game.reference)
    for objective in (OBJECTIVES["nash-md"](eta=eta), OBJECTIVES["ipo"](tau=1 / eta, pairs="all")):
        assert (centred(game.play(objective, iterations=1).log_policies[1]) - expected).abs().max() < 1e-9


@FEW
@given(st.integers(0, 1000), st.sampled_from([(0.5, 1.0), (0.3, 0.6)]))
def test_inpo_nash_md_and_ipo_play_the_same_game_to_its_regularised_equilibrium(seed, settings):
    tau, eta = settings
    game = random_game(seed)
    plays = [
        game.play(OBJECTIVES["inpo"](tau=tau, eta=eta, pairs="all"), iterations=20),
        game.play(OBJECTIVES["nash-md"](eta=1 / eta), opponent=mixture(tau / eta), iterations=20),
        game.play(OBJECTIVES["ipo"](tau=eta, pairs="all"), opponent=mixture(tau / eta), iterations=20),
    ]
    for play in plays:
        assert (play.policies - plays[0].policies).abs().max() < 1e-9
        assert (play.policies[-1] - game.regularized_equilibrium(tau)).abs().max() < 1e-4


@pytest.mark.parametrize("tau", [0.05, 0.1, 0.15, 0.2])
def test_on_rock_paper_scissors_inpo_converges_for_a_small_enough_step(tau):
    """The factor is √((1 − τ/η)² + 1/(12η²)): below one for η > (τ² + 1/12)/(2τ)."""
    game = PreferenceGame(preference=ROCK_PAPER_SCISSORS, reference=UNIFORM)
    boundary = (tau**2 + 1 / 12) / (2 * tau)
    for eta, converges in ((1.2 * boundary, True), (boundary / 1.2, False)):
        factor = contraction_factor(game, OBJECTIVES["inpo"](tau=tau, eta=eta, pairs="all"), UNIFORM)
        assert factor == pytest.approx(math.hypot(1 - tau / eta, 1 / (math.sqrt(12) * eta)), abs=1e-10)
        assert (factor < 1) == converges


@pytest.mark.parametrize(("eta", "converges"), [(1.2 * 0.4667, True), (0.4667 / 1.2, False)])
def test_the_play_agrees_with_the_boundary(eta, converges):
    game = PreferenceGame(preference=ROCK_PAPER_SCISSORS, reference=torch.tensor([0.36, 0.33, 0.31]))
    play = game.play(OBJECTIVES["inpo"](tau=0.1, eta=eta, pairs="all"), iterations=150)
    distance = (play.policies - game.regularized_equilibrium(0.1)).abs().amax(-1)
    assert (distance[-1] < 0.3 * distance[0]) == converges
    if not converges:
        assert distance[-10:].min() > 2 * distance[0]


def test_without_a_leash_multiplicative_weights_spiral_out_and_their_average_converges():
    play = CYCLE.play(OBJECTIVES["nash-md"](), iterations=100)
    assert play.exploitability[-20:].max() > 0.3
    assert play.average_exploitability[-1] < 0.03
    game = PreferenceGame(preference=ROCK_PAPER_SCISSORS, reference=UNIFORM)
    assert contraction_factor(game, OBJECTIVES["nash-md"](), UNIFORM) == pytest.approx(math.sqrt(13 / 12), abs=1e-12)


@pytest.mark.parametrize(("tau", "converges"), [(1.0, True), (0.4, True), (0.2, False)])
def test_ipo_against_the_base_is_a_smoothed_best_response(tau, converges):
    """Its step from the centre is 1/(τ√12) long: it converges to the regularised equilibrium for τ > 0.289."""
    play = CYCLE.play(OBJECTIVES["ipo"](tau=tau, pairs="all"), opponent="base", iterations=120)
    distance = (play.policies - CYCLE.regularized_equilibrium(tau)).abs().amax(-1)
    assert (distance[-1] < 1e-8) == converges
    assert converges or distance[-10:].min() > 0.05


def test_dpo_finds_the_scores_of_bradley_terry_and_against_the_previous_policy_runs_away_with_them():
    score = torch.tensor([1.0, 0.2, -0.5, 0.0], dtype=torch.float64)
    game = PreferenceGame(preference=torch.sigmoid(score[:, None] - score), reference=distribution(4, 3))
    objective = OBJECTIVES["dpo"](beta=0.5, pairs="all")
    optimum = torch.softmax(game.reference.log() + score / 0.5, 0)
    anchored = game.play(objective, opponent="base", iterations=4)
    assert (anchored.policies[1:] - optimum).abs().max() < 1e-8
    repeated = game.play(objective, iterations=4)
    steps = centred(repeated.log_policies).diff(dim=0)
    assert (steps - centred(score / 0.5)).abs().max() < 1e-6
    assert repeated.exploitability[-1] < 0.005


@pytest.mark.parametrize("opponent", ["previous", "base"])
def test_on_rock_paper_scissors_dpo_runs_out_of_range(opponent):
    """A cycle is no Bradley–Terry model: the fitted scores grow as the policy leaves the centre."""
    play = CYCLE.play(OBJECTIVES["dpo"](beta=1.0, pairs="all"), opponent=opponent, iterations=100)
    assert play.stopped is not None
    assert play.exploitability[-1] > 0.49


def test_a_decided_pair_has_no_finite_margin_for_dpo_and_half_a_nat_for_ipo():
    game = PreferenceGame(preference=torch.tensor([[0.5, 1.0], [0.0, 0.5]]), reference=torch.tensor([0.4, 0.6]))
    assert "below 1e-10" in game.play(OBJECTIVES["dpo"](pairs="all"), iterations=1).stopped
    for pairs in ("best-worst", "all"):
        step = game.play(OBJECTIVES["ipo"](pairs=pairs), iterations=1).log_policies.diff(dim=0)[0]
        assert float(step[0] - step[1]) == pytest.approx(0.5, abs=1e-9)


@pytest.mark.parametrize("name", ["ipo", "inpo"])
def test_the_best_and_the_worst_of_three_outcomes_say_nothing_of_the_third_and_a_leash_does(name):
    with pytest.raises(NoMinimiserError, match=r"flat in a direction, as with pairs=best-worst"):
        CYCLE.play(OBJECTIVES[name](), iterations=1)
    assert CYCLE.play(OBJECTIVES[name](), [REGULARIZERS["reverse-kl"](weight=0.5)], iterations=1).stopped is None


@pytest.mark.parametrize("objective", [OBJECTIVES["raft"](), OBJECTIVES["dpo"]()])
def test_a_minimum_at_infinity_is_no_flat_direction(objective):
    with pytest.raises(NoMinimiserError, match="at infinity"):
        CYCLE.play(objective, iterations=1)


@pytest.mark.parametrize("samples", ["policy", "mixture"])
@pytest.mark.parametrize(("alpha", "eta"), [(0.1, 1.0), (0.3, 3.0)])
def test_nash_md_s_factor_depends_on_where_its_samples_come_from(alpha, eta, samples):
    """√((1 − α)² + η²/12) against samples of the policy, (1 − α)√(1 + η²/12) against those of the mixture."""
    reference = torch.softmax(1e-3 * torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64), 0)
    opponent = OPPONENTS["geometric-mixture"](alpha=alpha, samples=samples)
    game = PreferenceGame(preference=ROCK_PAPER_SCISSORS, reference=reference)
    steps = centred(game.play(OBJECTIVES["nash-md"](eta=eta), opponent=opponent, iterations=8).log_policies).diff(dim=0)
    sizes, turn = steps.norm(dim=-1), eta**2 / 12
    factor = (1 - alpha) * (1 + turn) ** 0.5 if samples == "mixture" else ((1 - alpha) ** 2 + turn) ** 0.5
    assert sizes[1:] / sizes[:-1] == pytest.approx(torch.full((7,), factor).double(), rel=5e-3)
