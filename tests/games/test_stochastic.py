"""Finite samples and gradient steps: the exact answers are the limit, and what is lost on the way is measured."""

from __future__ import annotations

import pytest
import torch

from games.random_games import distribution
from sparring.games import StochasticGame, Training
from sparring.objectives import OBJECTIVES

PROMPTS, OUTCOMES = 4, 5


def tabular():
    size = PROMPTS * OUTCOMES
    return StochasticGame(
        expert=torch.stack([distribution(OUTCOMES, seed) for seed in range(PROMPTS)]),
        features=torch.eye(size).reshape(PROMPTS, OUTCOMES, size),
        initial=torch.zeros(size),
    )


def tied():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(PROMPTS, OUTCOMES, 6, dtype=torch.float64, generator=generator)
    truth = 0.7 * torch.randn(6, dtype=torch.float64, generator=generator)
    return StochasticGame(expert=torch.softmax(features @ truth, -1), features=features, initial=torch.zeros(6))


MUCH = Training(examples=4000, samples=8, steps=60, batch=1000, learning_rate=0.1)
LITTLE = Training(examples=60, samples=1, steps=60, batch=30, learning_rate=0.1)


def test_it_is_reproducible_and_the_seed_matters():
    first, second, other = (
        tied().play(OBJECTIVES["spin"](), iterations=2, training=Training(examples=60, steps=5, batch=30, seed=seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(first.log_policies, second.log_policies)
    assert not torch.equal(first.log_policies, other.log_policies)


@pytest.mark.parametrize(
    ("name", "options"), [("spin", {}), ("spif", {"reward_bound": 2.0}), ("space", {}), ("sft", {})]
)
def test_with_much_data_it_finds_the_expert_and_with_little_the_sample(name, options):
    much, little = (
        tied().play(OBJECTIVES[name](**options), iterations=3, training=training).kl for training in (MUCH, LITTLE)
    )
    assert much[-1] < 0.02 * much[0]
    assert little[-1] > 2 * much[-1]


def test_tied_features_share_what_is_learnt():
    """The same 60 examples teach six shared weights more than twenty free ones."""
    shared, free = (game.play(OBJECTIVES["sft"](), iterations=1, training=LITTLE) for game in (tied(), tabular()))
    assert shared.kl[-1] / shared.kl[0] < free.kl[-1] / free.kl[0]


def test_stopping_early_hides_what_the_stability_number_says():
    """Spin at β = 0.2 diverges when each iteration is finished; a tenth of the steps keeps it near the expert."""
    finished = tied().play(OBJECTIVES["spin"](beta=0.2), iterations=4, training=MUCH)
    early = Training(examples=4000, samples=8, steps=6, batch=1000, learning_rate=0.1)
    stopped = tied().play(OBJECTIVES["spin"](beta=0.2), iterations=4, training=early)
    assert finished.kl[-1] > finished.kl[0]
    assert stopped.kl[1:].max() < stopped.kl[0]
    assert stopped.total_variation[-1] < finished.total_variation[-1]


@pytest.mark.parametrize("options", [{"steps": 0}, {"learning_rate": -1.0}, {"examples": 10, "batch": 20}])
def test_nonsense_is_refused(options):
    with pytest.raises(ValueError, match="must be"):
        Training(**options)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"features must have shape \[X, n, d\]"):
        StochasticGame(expert=tied().expert, features=tied().features, initial=torch.zeros(3))
