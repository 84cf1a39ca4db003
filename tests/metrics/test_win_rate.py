"""How often the policy is preferred."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.judged import simulated, truth
from sparring.evaluation import Annotations, length_controlled_win_rate
from sparring.metrics import METRICS, Duel, Estimate, HeldOut


def pair(preference: float | None, length: int = 100, rival_length: int = 100) -> Duel:
    return Duel(preference=preference, length=length, rival_length=rival_length)


def rates(**duels: list[list[Duel]]) -> dict[str, Estimate]:
    return METRICS["win-rate"](HeldOut(expert=[], greedy=[], sampled=[], duels=duels))


def test_it_is_the_mean_over_prompts_of_the_mean_over_their_pairs() -> None:
    base = [[pair(1.0), pair(0.5)], [pair(0.0), pair(None)], [pair(1.0), pair(0.25)]]
    assert rates(base=base) == {"win_rate/base": Estimate.of_rate([0.75, 0.0, 0.625])}


def test_prompts_without_a_verdict_are_left_out_and_a_single_one_says_nothing() -> None:
    unknown, known = [pair(None)], [pair(1.0)]
    assert rates(base=[unknown, known, known]) == {"win_rate/base": Estimate.of_rate([1.0, 1.0])}
    assert rates(base=[unknown, known]) == {}


def test_rivals_have_their_own() -> None:
    both = rates(base=[[pair(1.0, 9)]] * 2, previous=[[pair(0.0, 9)]] * 2)
    assert {name: value.mean for name, value in both.items()} == {"win_rate/base": 1.0, "win_rate/previous": 0.0}


def test_known_answer_at_equal_length() -> None:
    """Preferred with 0.9 where longer and 0.5 where shorter: θ is the mean of the log odds, (ln 9 + 0)/2 = ln 3."""
    found = rates(base=[[pair(0.9, 120)], [pair(0.5, 80)]] * 20)
    assert found["win_rate/base"].mean == pytest.approx(0.7)
    assert found["win_rate/base/length_controlled"].mean == pytest.approx(0.75, abs=1e-5)


@pytest.mark.parametrize(
    ("longer", "shorter", "there"), [(10, 10, True), (9, 11, False), (10, 30, True), (10, 31, False)]
)
def test_there_is_none_where_it_would_extrapolate(longer: int, shorter: int, there: bool) -> None:
    found = rates(base=[[pair(0.7, 120)]] * longer + [[pair(0.5, 80)]] * shorter)
    assert ("win_rate/base/length_controlled" in found) == there


def test_there_is_none_where_length_nearly_decides() -> None:
    """The longer answer wins: θ could be anything between the shortest lead and the shortest lag."""
    random = np.random.default_rng(0)
    leads = [int(lead) for lead in random.integers(1, 60, 40)]
    found = rates(base=[[pair(float(sign > 0), 100 + sign * lead)] for lead in leads for sign in (1, -1)])
    assert set(found) == {"win_rate/base"}


@pytest.mark.parametrize(("steepness", "prompts"), [(1.0, 32), (3.0, 32), (3.0, 64), (5.0, 64), (10.0, 200)])
def test_where_it_is_given_its_error_is_honest(steepness: float, prompts: int) -> None:
    """An unbiased judge but for length, more and less so: two standard errors hold the truth, ½, nine times in ten."""
    random = np.random.default_rng(1)
    found = []
    for _ in range(100):
        difference = np.rint(random.normal(0.0, 30.0, prompts))
        p = 1 / (1 + np.exp(-steepness * np.tanh(difference / 30.0)))
        drawn = random.random(prompts) < p
        found.append(
            rates(base=[[pair(float(won), 200 + int(d), 200)] for won, d in zip(drawn, difference, strict=True)])
        )
    given = [each[name] for each in found if (name := "win_rate/base/length_controlled") in each]
    assert len(given) > 20
    assert np.mean([abs(each.mean - 0.5) < 2 * each.standard_error for each in given]) > 0.87


def of_model(share: float, seed: int) -> tuple[Annotations, dict[str, Estimate]]:
    """A model as able as the baseline, whose answers have `share` of its length, by a judge that loves length."""
    model = simulated("new", ability=0.0, share=share, seed=seed)
    rows = zip(model.preference, model.model_length, model.baseline_length, strict=True)
    return model, rates(base=[[pair(float(p), int(own), int(other))] for p, own, other in rows])


def test_it_finds_what_an_unbiased_judge_would_say_and_the_plain_rate_does_not() -> None:
    found = [of_model(share=1.15, seed=seed)[1] for seed in range(8)]
    errors = {
        name: np.mean([(each[name].mean - truth(0.0)) / each[name].standard_error for each in found])
        * len(found) ** 0.5
        for name in ("win_rate/base", "win_rate/base/length_controlled")
    }
    assert abs(errors["win_rate/base/length_controlled"]) < 2.5
    assert errors["win_rate/base"] > 5


def test_it_is_the_benchmarks_regression_without_a_pool() -> None:
    model, found = of_model(share=1.1, seed=1)
    controlled, expected = found["win_rate/base/length_controlled"], length_controlled_win_rate(model)
    assert controlled.mean == pytest.approx(expected.rate, abs=1e-6)
    assert controlled.standard_error == pytest.approx(expected.standard_error, rel=1e-4)


def test_samples_of_a_prompt_are_not_independent() -> None:
    """Every pair twice: the same rate from the same prompts, and no more certain."""
    random = np.random.default_rng(0)
    prompts = [[pair(float(random.integers(2)), int(random.integers(50, 150)))] for _ in range(60)]
    once, twice = rates(base=prompts), rates(base=[pairs * 2 for pairs in prompts])
    for name, value in once.items():
        assert twice[name].mean == pytest.approx(value.mean, abs=1e-5)
        assert twice[name].standard_error == pytest.approx(value.standard_error, rel=1e-4)
        assert twice[name].n == 60
