"""What fictitious play and geometric mixtures do to spin, where it diverges against the previous policy."""

from __future__ import annotations

import math

import pytest
import torch

from games.random_games import distribution, preference_table
from sparring.games import ImitationGame, PreferenceGame
from sparring.games.players import opponent_policy
from sparring.objectives import OBJECTIVES
from sparring.opponents import OPPONENTS

EXPERT = distribution(4, 0)
NEAR = torch.softmax(EXPERT.log() + 0.01 * distribution(4, 1), 0)
FAR = distribution(4, 50)


def play(beta, opponent, iterations, *, start=NEAR, **options):
    game = ImitationGame(expert=EXPERT, initial=start)
    return game.play(OBJECTIVES["spin"](beta=beta), OPPONENTS[opponent](**options), iterations)


@pytest.mark.parametrize("history", [1, 2, 3, 4])
@pytest.mark.parametrize("mixture", ["arithmetic", "geometric"])
def test_fictitious_play_over_h_policies_is_stable_above_one_over_h_plus_one(history, mixture):
    """From nearby, log π_{t+1} − log π_E = −(1/β − 1) × the mean of the last h errors.

    At 1/β − 1 = h the characteristic polynomial is 1 + z + … + z^h: its roots lie on the unit circle.
    """
    edge = 1 / (history + 1)
    error = [
        play(beta, "fictitious-play", 40, history=history, mixture=mixture).log_error
        for beta in (edge * 1.25, edge / 1.25)
    ]
    assert error[0][-5:].max() < 0.5 * error[0][0]
    assert error[1][-5:].max() > 5 * error[1][0]


@pytest.mark.parametrize("beta", [0.2, 0.25, 0.3, 0.4])
def test_fictitious_play_over_all_policies_converges_where_the_previous_policy_diverges(beta):
    assert play(beta, "previous", 60, start=FAR).stopped is not None
    average = play(beta, "fictitious-play", 60, start=FAR)
    assert average.stopped is None
    assert average.kl[-1] < 1e-4 * average.kl[0]
    assert average.log_error.max() > 1.4 * average.log_error[0]  # but first it overshoots


def test_its_error_falls_as_a_power_of_time():
    """The mean error a obeys a_{t+1} = a_t (1 − (1/β)/(t + 2)), so a and the error fall as t^{−1/β}."""
    error = play(2.0, "fictitious-play", 80).log_error
    assert math.log(error[80] / error[40]) / math.log(40 / 80) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("alpha", "beta"), [(0.1, 0.7), (0.5, 1.0), (0.5, 3.0)])
def test_a_geometric_mixture_converges_off_the_expert(alpha, beta):
    result = play(beta, "geometric-mixture", 60, start=FAR, alpha=alpha)
    weight = 1 / (1 + alpha * beta)
    fixed_point = torch.log_softmax(weight * EXPERT.log() + (1 - weight) * FAR.log(), 0)
    assert (result.log_policies[-1] - fixed_point).abs().max() < 1e-7
    distance = result.log_policies - fixed_point
    spread = distance.amax(-1) - distance.amin(-1)
    assert spread[3] / spread[2] == pytest.approx(abs(1 - alpha - 1 / beta), abs=1e-6)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
def test_scored_only_a_geometric_mixture_steadies_nothing(alpha):
    """The step is 1 − α − 1/β: below β = 1/(2 − α), which is above ½, it diverges all the faster."""
    assert play(0.95 / (2 - alpha), "geometric-mixture", 200, start=FAR, alpha=alpha).stopped is not None
    assert play(1.1 / (2 - alpha), "geometric-mixture", 40, start=FAR, alpha=alpha).stopped is None


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.25), (0.8, 0.25), (0.5, 0.4), (0.1, 0.7), (0.5, 3.0)])
def test_sampled_from_as_well_a_geometric_mixture_steadies_spin(alpha, beta):
    """The factor is (1 − α)|1 − 1/β|, at β = ¼ below one for α > ⅔; sampled from π_t only it is |1 − α − 1/β|."""
    result = play(beta, "geometric-mixture", 5, start=FAR, alpha=alpha, samples="mixture")
    steps = result.log_policies.diff(dim=0)
    spread, factor = steps.amax(-1) - steps.amin(-1), (1 - alpha) * abs(1 - 1 / beta)
    assert len(spread) > 2
    assert spread[1:] / spread[:-1] == pytest.approx(torch.full_like(spread[1:], factor), abs=1e-4)
    assert (spread[-1] < spread[0]) == (beta > (1 - alpha) / (2 - alpha))


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.4), (0.3, 1.0), (0.5, 3.0)])
def test_sampled_from_as_well_it_settles_nearer_the_expert(alpha, beta):
    scored, sampled = (
        play(beta, "geometric-mixture", 60, start=FAR, alpha=alpha, samples=samples)
        for samples in ("policy", "mixture")
    )
    c = 1 + alpha * (beta - 1)
    fixed_point = torch.log_softmax(EXPERT.log() / c + (1 - 1 / c) * FAR.log(), 0)
    assert (sampled.log_policies[-1] - fixed_point).abs().max() < 1e-6
    assert scored.stopped is not None or sampled.kl[-1] < scored.kl[-1]


def test_at_beta_one_it_reaches_the_expert_at_once():
    assert play(1.0, "geometric-mixture", 1, start=FAR, alpha=0.3, samples="mixture").log_error[1] < 1e-9


@pytest.mark.parametrize("samples", ["policy", "mixture"])
def test_preferences_are_measured_against_what_the_mixture_generates(samples):
    """Nash-MD: sppo's P is against the mixture where that is sampled from, against π_t where it is not."""
    table, reference, alpha = preference_table(4, 0), distribution(4, 1), 0.6
    game = PreferenceGame(preference=table, reference=reference)
    policy = distribution(4, 2)
    scored, drawn = opponent_policy(
        OPPONENTS["geometric-mixture"](alpha=alpha, samples=samples), 1, [reference.log(), policy.log()]
    )
    mixed = policy ** (1 - alpha) * reference**alpha
    assert torch.allclose(scored, mixed.log())
    assert torch.allclose(drawn, mixed / mixed.sum() if samples == "mixture" else policy)
    assert torch.allclose(game.ratios(policy.log(), scored, drawn).preference[0], table @ drawn)


def test_two_generators_slow_beta_one_to_root_one_half():
    # e_{t+1} = ½e_t − ½e_{t−1} has complex roots of modulus √½, so e_{t+1}² − ½e_{t+1}e_t + ½e_t² halves every time.
    error = (play(1.0, "previous-two", 30).log_policies - EXPERT.log())[:, 0]
    invariant = error[1:] ** 2 - 0.5 * error[1:] * error[:-1] + 0.5 * error[:-1] ** 2
    assert (invariant[20] / invariant[10]) ** (1 / 10) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("beta", "converges"), [(0.8, False), (1.25, True)])
def test_measured_from_the_base_spin_needs_beta_above_one(beta, converges):
    result = play(beta, "base", 60, start=FAR)
    step = result.log_policies.diff(dim=0)
    spread = step.amax(-1) - step.amin(-1)
    assert spread[3] / spread[2] == pytest.approx(1 / beta, abs=1e-6)
    assert (spread[-1] < spread[0]) == converges
