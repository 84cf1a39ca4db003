"""The α of `renyi` that balances what both sides keep of their samples, and that it changes no answer."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.games import ImitationGame
from sparring.log_ratios import LogRatios
from sparring.objectives import Renyi

EXPERT = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
START = torch.tensor([0.5, 0.3, 0.1, 0.1], dtype=torch.float64)
rewards = st.lists(st.floats(-8.0, 8.0, width=32), min_size=2, max_size=12)


def chosen(expert: list[float], generated: list[list[float]], dtype: torch.dtype = torch.float64) -> float:
    given_ratios = LogRatios(expert=torch.tensor(expert, dtype=dtype), generated=torch.tensor(generated, dtype=dtype))
    alpha = Renyi(alpha="adaptive")(given_ratios).metrics["alpha"]
    assert len(set(alpha.tolist())) == 1
    return float(alpha[0])


def kept(scale: float, values: list[float]) -> float:
    """Kish's effective share of the samples under the weights e^{s r}."""
    weights = [math.exp(scale * value) for value in values]
    return sum(weights) ** 2 / sum(weight**2 for weight in weights) / len(weights)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_where_nothing_differs_both_sides_count_alike(dtype: torch.dtype) -> None:
    for reward in (0.0, 1.7, -60.0):
        assert chosen([reward] * 3, [[reward] * 2] * 3, dtype) == pytest.approx(0.5, abs=1e-6)
    assert chosen([3.0], [[-5.0]], dtype) == pytest.approx(0.5, abs=1e-6)
    # The rounding of fp32, as of a policy's scores under itself, is not taken for a difference.
    assert chosen([1e-6, -1e-6], [[0.0], [1e-7]]) == pytest.approx(0.5, abs=1e-3)


@settings(max_examples=50, deadline=None)
@given(expert=rewards, generated=rewards, other=st.floats(0.01, 0.99))
def test_the_smaller_effective_share_is_as_large_as_can_be(
    expert: list[float], generated: list[float], other: float
) -> None:
    size = min(len(expert), len(generated))
    expert, generated = expert[:size], generated[:size]
    alpha = chosen(expert, [[value] for value in generated])
    assert 0.01 <= alpha <= 0.99

    def smaller(at: float) -> float:
        return min(kept(at, generated), kept(at - 1.0, expert))

    # The noise that settles ties is worth 1e-4 nats.
    assert smaller(alpha) >= smaller(other) * (1.0 - 2e-4)


def test_for_small_rewards_it_is_the_share_of_the_expert_s_spread() -> None:
    draws = torch.randn(2, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expert, generated = 0.3 * draws[0], 0.1 * draws[1]
    spread = (float(side.std(correction=0)) for side in (expert, generated))
    one, other = spread
    assert chosen(expert.tolist(), generated.unsqueeze(-1).tolist()) == pytest.approx(one / (one + other), abs=0.02)


def test_turning_the_game_round_turns_it_round() -> None:
    expert, generated = [0.3, 2.0, -1.0], [0.1, 0.4, -0.7]
    alpha = chosen(expert, [[value] for value in generated])
    turned = chosen([-value for value in generated], [[-value] for value in expert])
    assert turned == pytest.approx(1.0 - alpha, abs=1e-6)
    assert alpha > 0.6  # the expert's rewards spread more, so its exponent α − 1 is the smaller


def test_weights_count() -> None:
    expert, generated = torch.tensor([0.3, 2.0]), torch.tensor([[0.1, -1.0], [0.2, 0.7]])
    weights = {"expert_weight": torch.tensor([0.75, 0.25]), "generated_weight": torch.tensor([[0.5, 0.5], [1.0, 0.0]])}
    weighed = Renyi(alpha="adaptive")(LogRatios(expert=expert, generated=generated, **weights)).metrics["alpha"][0]
    # The same, by repetition: joint weights are 3/8, 3/8 and 1/4.
    repeated = chosen([0.3] * 6 + [2.0] * 2, [[0.1]] * 3 + [[-1.0]] * 3 + [[0.2]] * 2)
    assert float(weighed) == pytest.approx(repeated, abs=1e-5)


@pytest.mark.parametrize("beta", [0.4, 0.8, 1.0, 2.0])
def test_every_exact_step_is_that_of_a_fixed_alpha(beta: float) -> None:
    """π_{t+1} ∝ π_t (π_E/π_t)^{1/β}, so the error is multiplied by |1 − 1/β|, whatever α was chosen on the way."""
    game = ImitationGame(expert=EXPERT, initial=START)
    fixed, adaptive = (game.play(Renyi(beta=beta, alpha=alpha), iterations=3) for alpha in (0.5, "adaptive"))
    assert (adaptive.log_policies - fixed.log_policies).abs().max() < 1e-8
    error = adaptive.log_error
    assert error[1:] == pytest.approx(abs(1 - 1 / beta) * error[:-1], abs=1e-8)
    assert adaptive.metrics["divergence_estimate"] == pytest.approx(fixed.metrics["divergence_estimate"], abs=1e-12)
    # At the optimum the second moments of e^{αr} and e^{(α−1)r} agree for α = ½; on the way they do for another.
    assert adaptive.metrics["alpha"] == pytest.approx(torch.full((3,), 0.5).double(), abs=1e-6)
    middle = (0.4 * game.initial + 0.6 * torch.tensor([0.1, 0.1, 0.1, 0.7])).log()
    on_the_way = Renyi(beta=beta, alpha="adaptive")(game.ratios(middle, game.initial.log(), game.initial))
    assert abs(float(on_the_way.metrics["alpha"][0]) - 0.5) > 1e-3


def test_its_gradient_is_that_at_the_chosen_alpha_and_its_value_that_at_one_half() -> None:
    expert = torch.tensor([0.3, 2.0], dtype=torch.float64, requires_grad=True)
    batch = LogRatios(expert=expert, generated=torch.tensor([[0.1], [0.4]], dtype=torch.float64))
    adaptive = Renyi(alpha="adaptive")(batch)
    alpha = float(adaptive.metrics["alpha"][0])
    held, half = Renyi(alpha=alpha)(batch).loss, Renyi(alpha=0.5)(batch).loss
    gradients = [torch.autograd.grad(loss.sum(), expert)[0] for loss in (adaptive.loss, held, half)]
    assert torch.equal(gradients[0], gradients[1])
    assert not torch.allclose(gradients[0], gradients[2], rtol=1e-2)
    assert torch.allclose(adaptive.loss, half, atol=1e-15)
    assert not torch.allclose(adaptive.loss, held, rtol=1e-2)
