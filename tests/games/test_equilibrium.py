"""The equilibrium solver against the definition, and against closed forms."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from games.random_games import FEW, ROCK_PAPER_SCISSORS, distribution, preference_table
from sparring.errors import RunError
from sparring.games import PreferenceGame

KINDS = ["reverse-kl", "forward-kl", "chi-squared"]


@FEW
@given(st.integers(2, 8), st.integers(0, 1000), st.sampled_from([0.3, 1.0, 5.0]), st.sampled_from(KINDS))
def test_nothing_is_gained_by_leaving_the_equilibrium(n, seed, tau, kind):
    game = PreferenceGame(preference=preference_table(n, seed), reference=distribution(n, seed + 1))
    equilibrium = game.regularized_equilibrium(tau, kind)
    assert equilibrium.sum() == pytest.approx(1.0, abs=1e-12)
    assert abs(game.regularized_exploitability(equilibrium, tau, kind)) < 1e-13
    assert game.regularized_exploitability(distribution(n, seed + 2), tau, kind) > 1e-6


@FEW
@given(st.integers(2, 8), st.integers(0, 1000), st.sampled_from([0.01, 0.1, 1.0]))
def test_it_solves_the_fixed_point_equation(n, seed, tau):
    game = PreferenceGame(preference=preference_table(n, seed), reference=distribution(n, seed + 1))
    equilibrium = game.regularized_equilibrium(tau)
    constant = equilibrium.log() - game.reference.log() - game.preference @ equilibrium / tau
    assert constant.max() - constant.min() < 1e-9 / tau


def test_as_tau_vanishes_it_tends_to_the_nash_equilibrium():
    game = PreferenceGame(preference=ROCK_PAPER_SCISSORS, reference=distribution(3, 0))
    gaps = [game.exploitability(game.regularized_equilibrium(tau)) for tau in (1.0, 0.1, 0.01, 0.001)]
    assert all(later < 0.5 * earlier for earlier, later in pairwise(gaps))
    assert gaps[-1] < 3e-3


def test_as_tau_grows_it_tends_to_the_reference():
    game = PreferenceGame(preference=preference_table(5, 3), reference=distribution(5, 4))
    for kind in KINDS:
        assert (game.regularized_equilibrium(1e4, kind) - game.reference).abs().max() < 1e-4


def test_exploitability_of_always_rock():
    game = PreferenceGame(preference=ROCK_PAPER_SCISSORS, reference=distribution(3, 0))
    assert game.exploitability(torch.tensor([1 - 2e-9, 1e-9, 1e-9])) == pytest.approx(0.5, abs=1e-6)
    assert game.exploitability(torch.full((3,), 1 / 3)) == pytest.approx(0.0, abs=1e-12)


def test_an_equilibrium_on_the_boundary_is_refused():
    game = PreferenceGame(preference=preference_table(8, 3), reference=distribution(8, 4))
    with pytest.raises(RunError, match="no interior equilibrium"):
        game.regularized_equilibrium(1e-3, "chi-squared")


def test_nonsense_is_refused():
    game = PreferenceGame(preference=ROCK_PAPER_SCISSORS, reference=distribution(3, 0))
    with pytest.raises(ValueError, match="tau must be"):
        game.regularized_equilibrium(0.0)
    with pytest.raises(ValueError, match="did you mean 'reverse-kl'"):
        game.regularized_equilibrium(1.0, "reversekl")
