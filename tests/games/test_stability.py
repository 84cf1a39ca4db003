"""The stability number: the objectives' formulas against the derivative of the exact iteration, and against play."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest

from games.random_games import distribution
from sparring.games import ImitationGame, contraction_factor, stability
from sparring.games.stability import NoFixedPointError
from sparring.objectives import OBJECTIVES

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
