"""The stability number: the objectives' formulas against the derivative of the exact iteration, and against play."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from games.random_games import distribution
from sparring.games import ImitationGame, contraction_factor, stability
from sparring.games.stability import NoFixedPointError
from sparring.objectives import OBJECTIVES, Spin
from sparring.regularizers import ChiSquared, ForwardKl, Regularized, ReverseKl, SftPenalty
from sparring.types import Objective, ObjectiveOutput, Regularizer

SETTINGS = [
    *[("spin", {"beta": beta, "link": link}) for beta in (0.3, 1.0, 2.0) for link in ("logistic", "exponential")],
    ("spin", {"beta": 0.7, "link": "squared"}),
    ("spin", {"beta": 0.7, "link": "linear"}),
    *[("spif", {"beta": 0.5, "reward_bound": bound}) for bound in (0.5, 1.0, 1.7, 3.0)],
    *[("space", {"beta": beta, "mu": mu}) for beta in (0.4, 1.0, 3.0) for mu in (0.5, 2.0)],
    *[("f-divergence", {"beta": 0.8, "divergence": name}) for name in ("kl", "js", "neyman", "squared_hellinger")],
    *[("renyi", {"beta": 0.8, "alpha": alpha}) for alpha in (0.5, 2.0, "adaptive")],
]


@pytest.mark.parametrize(("name", "options"), SETTINGS)
def test_formula_and_derivative_agree(name, options):
    expert = distribution(5, 7)
    objective = OBJECTIVES[name](**options)
    measured = contraction_factor(ImitationGame(expert=expert, initial=expert), objective, expert)
    assert measured == pytest.approx(objective.stability.contraction_factor, abs=1e-9)
    assert stability(objective) == objective.stability


@dataclass(frozen=True, kw_only=True)
class Unanalysed:
    """Spif without its formula."""

    beta: float
    reward_bound: float

    requires: ClassVar[frozenset[str]] = frozenset({"expert", "generated"})

    def __call__(self, ratios):
        return OBJECTIVES["spif"](beta=self.beta, reward_bound=self.reward_bound)(ratios)

    @property
    def stability(self):
        return None


@pytest.mark.parametrize("ratio", [0.5, 2.0, 3.0, 6.0])
def test_without_a_formula_the_exponent_is_differentiated(ratio):
    number = stability(Unanalysed(beta=0.4, reward_bound=0.4 * ratio))
    assert number.step_exponent == pytest.approx(ratio / 2, abs=1e-9)
    assert ("converges" in number.verdict) == (ratio < 4)


def test_the_cure_names_the_settings_that_shorten_the_step():
    overshoots = stability(Unanalysed(beta=0.4, reward_bound=2.4))
    assert overshoots.cure == "take a shorter step: raise beta or lower reward_bound"
    assert stability(Linked(link=lambda t: functional.softplus(-0.5 * t))).cure == "take a shorter step"


@dataclass(frozen=True, kw_only=True)
class Steeper(Spin):
    """A loss that its base's formula does not know."""

    extra: float

    def __call__(self, ratios):
        output = super().__call__(ratios)
        return ObjectiveOutput(loss=output.loss + self.extra * ratios.require("expert").square())


def test_a_formula_that_is_inherited_past_another_loss_does_not_count():
    objective = Steeper(beta=1.0, extra=5.0)
    number = stability(objective)
    expert = distribution(4, 3)
    game = ImitationGame(expert=expert, initial=expert)
    assert number.symbol == "step exponent"
    assert number.contraction_factor == pytest.approx(contraction_factor(game, objective, expert), abs=1e-9)
    # ½ (Δ_E − mean Δ) has the curvature ¼, and Δ_E² a curvature of 2: for opponents that are near the expert
    # π_{t+1} ∝ π_t (π_E/π_t)^e with 1/e = 1 + 4 · 5.
    assert number.step_exponent == pytest.approx(1.0 / 21.0, abs=1e-9)


def test_a_step_the_wrong_way_is_told_from_one_that_is_too_long():
    number = stability(Linked(link=functional.softplus))
    assert number.step_exponent < 0
    assert number.verdict.startswith("moves away: near the expert each exact iteration goes the other way; is the sign")


def test_supervised_fine_tuning_forgets_its_opponent():
    for name in ("sft", "distill"):
        assert stability(OBJECTIVES[name]()).contraction_factor == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("name", ["sppo", "dpo", "ipo", "inpo", "nash-md", "t-spin"])
def test_where_the_expert_is_no_fixed_point_there_is_no_number(name):
    assert stability(OBJECTIVES[name]()) is None


def test_elsewhere_than_at_a_fixed_point_it_refuses():
    game = ImitationGame(expert=distribution(3, 0), initial=distribution(3, 1))
    with pytest.raises(NoFixedPointError, match="gradient"):
        contraction_factor(game, OBJECTIVES["spin"](), distribution(3, 2))


def test_a_flat_loss_has_an_infinite_factor():
    assert math.isinf(stability(OBJECTIVES["spin"](link="hinge")).contraction_factor)


@dataclass(frozen=True, kw_only=True)
class Linked(Objective):
    """A link of the margin t of the expert over the mean generated response; no formula is given."""

    link: Callable[[Tensor], Tensor]

    requires: ClassVar[frozenset[str]] = frozenset({"expert", "generated"})

    def __call__(self, ratios):
        margin = ratios.require("expert") - ratios.mean_over_samples(ratios.require("generated"))
        return ObjectiveOutput(loss=self.link(margin))


def huber(target, delta):
    return lambda t: functional.huber_loss(t, torch.full_like(t, target), delta=delta, reduction="none")


@pytest.mark.parametrize(
    "link",
    [
        lambda t: functional.relu(1.0 - t),
        lambda t: functional.relu(1.0 - 300.0 * t),
        huber(1.0, 0.5),
        # Curvature of rounding's size, of either sign.
        lambda t: 1e-17 * t.square() - t,
        lambda t: -1e-17 * t.square() - t,
    ],
)
def test_a_link_that_is_straight_at_the_start_has_an_infinite_exponent_and_its_cure(link):
    number = stability(Linked(link=link))
    assert number.value == number.step_exponent == number.contraction_factor == math.inf
    assert number.verdict.startswith("overshoots")
    assert number.cure == "take a loss that is curved where Δ is 0, as a hinge is not"


@pytest.mark.parametrize(
    "link",
    [
        # The second derivative is 1 above 0 and 0 below; and the other way round.
        huber(1.0, 1.0),
        huber(-1.0, 1.0),
        lambda t: functional.relu(t).square() - t,
        # 0.5 and 1, which is no more than a difference of degree.
        lambda t: torch.where(t > 0, 0.5, 1.0) * t.square() - t,
        torch.abs,
    ],
)
def test_a_kink_in_the_loss_or_its_slope_gives_no_number(link):
    assert stability(Linked(link=link)) is None


@pytest.mark.parametrize("beta", [1e-2, 1.0, 1e2])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_smooth_link_keeps_its_number_at_any_scale(beta, scale):
    # e = minus slope over curvature at 0.
    number = stability(Linked(link=lambda t: scale * functional.softplus(-beta * t)))
    assert number.step_exponent == pytest.approx(2.0 / beta, rel=1e-9)


def test_where_the_loss_is_flat_whoever_the_opponent_is_there_is_no_number():
    assert stability(Linked(link=lambda t: -t.clamp(1.0, 2.0))) is None


def test_where_the_loss_is_highest_there_is_no_number():
    # The expert is then no best response to itself.
    assert stability(Linked(link=lambda t: -0.5 * (t + 1.0).square())) is None


@pytest.mark.parametrize("penalty", [ReverseKl(weight=1.0), ForwardKl(weight=1.0), ChiSquared(weight=1.0)])
@pytest.mark.parametrize("name", ["spin", "spif"])
def test_a_penalty_that_moves_the_end_off_the_expert_leaves_no_number(name: str, penalty: Regularizer):
    """The exact play ends elsewhere, so that a factor at the expert would promise what does not happen."""
    regularized = Regularized(OBJECTIVES[name](), [penalty])
    expert = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    game = ImitationGame(expert=expert, initial=torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64))
    end = game.play(regularized, iterations=40).policies[-1]
    assert float((end - expert).abs().max()) > 0.01
    assert stability(regularized) is None


def test_an_anchor_at_the_expert_has_the_number_of_its_own_step():
    """Of `spin` with β = 2 the pull is β/2 and the curvature β²/2, so e = ½; λ adds to both: e = (1 + λ) / (2 + λ)."""
    spin = OBJECTIVES["spin"](beta=2.0)
    assert spin.stability.step_exponent == pytest.approx(0.5)
    found = stability(Regularized(spin, [SftPenalty(weight=0.3)]))
    assert found.step_exponent == pytest.approx(1.3 / 2.3, abs=1e-6)
