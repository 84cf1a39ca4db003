"""What each estimator's value and gradient are, in expectation, on a distribution small enough to sum over.

All n outcomes are the samples, weighted by the distribution they are drawn from, so the mean is the expectation: what
is left after that is bias. "Right" means equal to the true divergence, or gradient, to rounding error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from objectives.exact import over_prompts
from sparring.log_ratios import LogRatios
from sparring.regularizers import REGULARIZERS

SIZE = 6
# Two outcomes are preferred to the others.
PREFERENCE = torch.tensor([0.7, 0.3, 0.7, 0.3, 0.4, 0.3], dtype=torch.float64)


class Players(NamedTuple):
    logits: Tensor
    opponent: Tensor
    reference: Tensor
    expert: Tensor


def players(*, on_policy: bool) -> Players:
    generator = torch.Generator().manual_seed(3)
    draws = torch.randn(4, SIZE, generator=generator, dtype=torch.float64)
    opponent, reference, expert, moved = draws.log_softmax(-1)
    return Players((opponent if on_policy else moved).clone().requires_grad_(), opponent, reference, expert)


def ratios(game: Players) -> LogRatios:
    log_policy = game.logits.log_softmax(0)
    delta, to_reference = (log_policy - game.opponent), (log_policy - game.reference)
    return LogRatios(
        expert_weight=game.expert.exp(),
        generated=delta.expand(SIZE, -1),
        generated_weight=game.opponent.exp().expand(SIZE, -1),
        reference_generated=to_reference.expand(SIZE, -1),
        policy_expert=log_policy,
        policy_generated=log_policy.expand(SIZE, -1),
        policy_reference=log_policy.expand(SIZE, -1),
        reference_weight=game.reference.exp().expand(SIZE, -1),
        preference=PREFERENCE.expand(SIZE, -1),
    )


def best(game: Players) -> Tensor:
    """The opponent restricted to the outcomes that are preferred."""
    preferred = PREFERENCE.max() == PREFERENCE
    return game.opponent.masked_fill(~preferred, -torch.inf).log_softmax(0)


TRUTH: dict[str, Callable[[Tensor, Players], Tensor]] = {
    "reverse-kl": lambda log_policy, game: (log_policy.exp() * (log_policy - game.reference)).sum(),
    "forward-kl": lambda log_policy, game: (game.reference.exp() * (game.reference - log_policy)).sum(),
    "chi-squared": lambda log_policy, game: (log_policy.exp().square() / game.reference.exp()).sum() - 1.0,
    "entropy": lambda log_policy, game: (log_policy.exp() * log_policy).sum(),
    "sft": lambda log_policy, game: (game.expert.exp() * (game.expert - log_policy)).sum(),
    "raft": lambda log_policy, game: (best(game).exp() * (best(game) - log_policy))[[0, 2]].sum(),
}


def measure(name: str, options: dict[str, object], *, on_policy: bool) -> tuple[float, float, Tensor, Tensor]:
    """The estimate and the truth, and the gradients of both in the logits."""
    game = players(on_policy=on_policy)
    estimate = over_prompts(ratios(game), REGULARIZERS[name](weight=1.0, **options)(ratios(game)).loss)
    truth = TRUTH[name](game.logits.log_softmax(0), game)
    (slope,) = torch.autograd.grad(estimate, game.logits)
    (true_slope,) = torch.autograd.grad(truth, game.logits)
    return estimate.item(), truth.item(), slope, true_slope


IMPORTANCE = {"importance": True}
# regularizer, options, then whether value and gradient are right: on-policy (π_θ = π_o), off-policy.
TABLE = [
    ("reverse-kl", {"estimator": "k1"}, (True, False), (False, False)),
    ("reverse-kl", {"estimator": "k2"}, (False, True), (False, False)),
    ("reverse-kl", {"estimator": "k3"}, (True, False), (False, False)),
    ("reverse-kl", {"estimator": "k1"} | IMPORTANCE, (True, True), (True, True)),
    ("reverse-kl", {"estimator": "k2"} | IMPORTANCE, (False, False), (False, False)),
    ("reverse-kl", {"estimator": "k3"} | IMPORTANCE, (True, True), (True, True)),
    ("forward-kl", {"samples": "reference"}, (False, True), (False, True)),
    ("forward-kl", {"samples": "generated"}, (False, True), (False, False)),
    ("forward-kl", {"samples": "generated"} | IMPORTANCE, (True, True), (True, True)),
    ("chi-squared", {"estimator": "k1", "importance": False}, (True, False), (False, False)),
    ("chi-squared", {"estimator": "k3", "importance": False}, (True, False), (False, False)),
    ("chi-squared", {"estimator": "k1"} | IMPORTANCE, (True, True), (True, True)),
    ("chi-squared", {"estimator": "k3"} | IMPORTANCE, (True, True), (True, True)),
    ("entropy", {"importance": False}, (True, False), (False, False)),
    ("entropy", IMPORTANCE, (True, True), (True, True)),
    ("sft", {}, (False, True), (False, True)),
    ("raft", {}, (False, True), (False, True)),
]


@pytest.mark.parametrize(("name", "options", "on_policy", "off_policy"), TABLE)
def test_value_and_gradient_are_right_exactly_where_the_docstring_says(
    name: str, options: dict[str, object], on_policy: tuple[bool, bool], off_policy: tuple[bool, bool]
) -> None:
    for right, where in ((on_policy, True), (off_policy, False)):
        value, truth, slope, true_slope = measure(name, options, on_policy=where)
        assert (abs(value - truth) < 1e-12, bool((slope - true_slope).norm() < 1e-12)) == right, where
        # "Wrong" is not a matter of rounding.
        assert right[0] or abs(value - truth) > 1e-2
        assert right[1] or (slope - true_slope).norm() > 1e-2


def test_the_table_has_every_regularizer() -> None:
    assert {name for name, *_ in TABLE} == set(REGULARIZERS)


def test_k1_and_entropy_without_weights_have_no_gradient_in_expectation() -> None:
    for name, options in (("reverse-kl", {"estimator": "k1"}), ("entropy", {"importance": False})):
        assert measure(name, options, on_policy=True)[2].norm() < 1e-12


def test_k3_without_weights_has_the_gradient_of_the_forward_kl() -> None:
    slope = measure("reverse-kl", {"estimator": "k3"}, on_policy=True)[2]
    assert torch.allclose(slope, measure("forward-kl", {}, on_policy=True)[3], atol=1e-12)


def test_chi_squared_without_weights_has_half_the_gradient_and_with_k3_the_forward_kls_besides() -> None:
    half = 0.5 * measure("chi-squared", {}, on_policy=True)[3]
    forward = measure("forward-kl", {}, on_policy=True)[3]
    for estimator, expected in (("k1", half), ("k3", half + forward)):
        slope = measure("chi-squared", {"estimator": estimator, "importance": False}, on_policy=True)[2]
        assert torch.allclose(slope, expected, atol=1e-12), estimator


@pytest.mark.parametrize("name", ["reverse-kl", "chi-squared"])
def test_k3_alone_is_still_where_the_policy_is_the_reference(name: str) -> None:
    """The weighted k1 pulls at every sample by ∇log π_θ there, which is zero in the mean alone: noise, λ times."""
    for estimator, slope in (("k1", 1.0), ("k3", 0.0)):
        log_ratio = torch.zeros(1, SIZE, dtype=torch.float64, requires_grad=True)
        value = REGULARIZERS[name](weight=2.0, estimator=estimator, importance=True)
        loss = value(LogRatios(generated=log_ratio, reference_generated=log_ratio)).loss
        (gradient,) = torch.autograd.grad(loss.sum(), log_ratio)
        assert gradient.tolist() == [[2.0 * slope / SIZE] * SIZE]


def of_one_sample(name: str, to_opponent: Tensor, to_reference: Tensor, **options: object) -> tuple[Tensor, Tensor]:
    """Value and gradient in log π_θ of each pair of log ratios, as the only sample of a prompt."""
    log_policy = torch.zeros_like(to_opponent, requires_grad=True)
    ratios = LogRatios(
        generated=(log_policy + to_opponent)[:, None], reference_generated=(log_policy + to_reference)[:, None]
    )
    loss = REGULARIZERS[name](weight=1.0, importance=True, **options)(ratios).loss
    return loss.detach(), torch.autograd.grad(loss.sum(), log_policy)[0]


@pytest.mark.parametrize("name", ["reverse-kl", "chi-squared"])
def test_the_weighted_k3_pulls_as_it_should_however_far_below_the_clip(name: str) -> None:
    """π_ref/π_o, its control variate, is no function of the policy: capped or not, it pushes nothing."""
    delta = torch.linspace(-16.0, 9.0, 26, dtype=torch.float64)
    for to_opponent in (delta, delta - 1.0, delta + 0.5, torch.zeros_like(delta)):
        _, slope = of_one_sample(name, to_opponent, delta, estimator="k3")
        pull = {"reverse-kl": delta, "chi-squared": 2.0 * delta.expm1()}[name]
        assert torch.allclose(slope, to_opponent.exp() * pull, rtol=1e-12)


@pytest.mark.parametrize(("name", "rests_at"), [("reverse-kl", -1.0), ("chi-squared", -math.log(2.0))])
def test_on_samples_that_stay_the_weighted_k1_is_least_below_the_reference_and_k3_at_it(
    name: str, rests_at: float
) -> None:
    delta = torch.linspace(-3.0, 3.0, 6001, dtype=torch.float64)
    least = {k: delta[of_one_sample(name, delta, delta, estimator=k)[0].argmin()].item() for k in ("k1", "k3")}
    assert least == pytest.approx({"k1": rests_at, "k3": 0.0}, abs=1e-3)


def test_chi_squared_beyond_both_clips_has_no_gradient() -> None:
    far = torch.tensor([10.5, 14.0], dtype=torch.float64)
    for estimator in ("k1", "k3"):
        assert of_one_sample("chi-squared", far, far, estimator=estimator)[1].tolist() == [0.0, 0.0]


def test_forward_kl_on_generated_samples_has_the_value_one_on_policy() -> None:
    assert measure("forward-kl", {"samples": "generated"}, on_policy=True)[0] == pytest.approx(1.0)


def test_constants_that_the_docstrings_name_are_what_is_missing() -> None:
    game = players(on_policy=False)
    for name, sampler in (("forward-kl", game.reference), ("sft", game.expert), ("raft", best(game)[[0, 2]])):
        value, truth, *_ = measure(name, {}, on_policy=False)
        assert value - truth == pytest.approx(-float((sampler.exp() * sampler).sum()))


def test_k2_with_weights_is_half_the_second_moment_under_the_policy() -> None:
    game = players(on_policy=False)
    log_policy = game.logits.log_softmax(0)
    moment = 0.5 * (log_policy.exp() * (log_policy - game.reference).square()).sum()
    value, _, slope, _ = measure("reverse-kl", {"estimator": "k2"} | IMPORTANCE, on_policy=False)
    assert value == pytest.approx(moment.item())
    assert torch.allclose(slope, torch.autograd.grad(moment, game.logits)[0], atol=1e-12)
