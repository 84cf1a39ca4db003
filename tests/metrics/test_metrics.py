"""Metrics with known answers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from sparring.metrics import METRICS, Estimate, HeldOut, Preferences, Response, measure


def response(text: str = "a", tokens: int = 1, finish: str = "stop", **known: Any) -> Response:
    return Response(text=text, tokens=tokens, finish_reason=finish, **known)


HELD_OUT = HeldOut(
    expert=[response("1", 2, log_prob=-4.0), response("2", 5, log_prob=-5.0), response("3", 10, log_prob=-60.0)],
    greedy=[response("1", 3, right=True), response("x", 4, right=False), response("3", 8, right=True)],
    sampled=[
        [
            response("1", 2, log_prob=-1.0, log_prob_base=-3.0, right=True),
            response("1", 4, log_prob=-2.0, log_prob_base=-6.0, right=True),
        ],
        [
            response("x", 6, "length", log_prob=-5.0, log_prob_base=-4.0, right=False),
            response("2", 6, log_prob=0.0, log_prob_base=0, right=True),
        ],
        [
            response("x", 9, "length", log_prob=-2.0, log_prob_base=-8.0, right=False),
            response("x", 9, log_prob=-2.0, log_prob_base=-2.0, right=False),
        ],
    ],
)


def estimate(values: Sequence[float]) -> tuple[float, float, int]:
    """Mean, standard error and n of three values, from their definitions."""
    n, mean = len(values), sum(values) / len(values)
    return mean, math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1) / n), n


@pytest.mark.parametrize(
    ("values", "mean", "error"),
    [([3.0], 3.0, 0.0), ([1.0, 3.0], 2.0, 1.0), ([1.0, 2.0, 3.0, 4.0], 2.5, math.sqrt(5 / 12)), ([0.1] * 10, 0.1, 0.0)],
)
def test_an_estimate_is_the_mean_and_its_standard_error(values: list[float], mean: float, error: float) -> None:
    result = Estimate.of(values)
    assert result.mean == pytest.approx(mean, abs=1e-15)
    assert result.standard_error == pytest.approx(error, abs=1e-15)
    assert result.n == len(values)
    assert Estimate.from_json(result.to_json()) == result


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_of_a_rate_is_that_of_newcombe(right: int, n: int, low: float, high: float) -> None:
    """Newcombe 1998, table I, method 3 (Wilson's score interval without continuity correction)."""
    result = Estimate.of_rate([1.0] * right + [0.0] * (n - right))
    assert result.interval == pytest.approx((low, high), abs=5e-5)
    assert result.mean == pytest.approx(right / n)
    assert Estimate.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_what_never_or_always_holds_is_not_certain() -> None:
    """0 of 8: z²/(8 + z²) = 0.3244."""
    assert Estimate.of_rate([0.0] * 8).interval == pytest.approx((0.0, 0.3244), abs=5e-5)
    assert Estimate.of_rate([1.0] * 8).interval == pytest.approx((0.6756, 1.0), abs=5e-5)


def test_the_metrics_that_are_rates_say_so() -> None:
    rates = {name for name, each in measure(HELD_OUT).items() if each.interval is not None}
    assert rates == {"accuracy/greedy", "accuracy/sampled", "finished/sampled"}


def test_the_mean_does_not_lose_digits() -> None:
    assert Estimate.of([1e16, 1.0, -1e16]).mean == pytest.approx(1 / 3, abs=1e-15)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("accuracy/greedy", [1.0, 0.0, 1.0]),
        ("accuracy/sampled", [1.0, 0.5, 0.0]),
        ("log_likelihood/sequence", [-4.0, -5.0, -60.0]),
        ("log_likelihood/token", [-2.0, -1.0, -6.0]),
        ("length/sampled", [3.0, 6.0, 9.0]),
        ("length/greedy", [3.0, 4.0, 8.0]),
        ("length/expert", [2.0, 5.0, 10.0]),
        ("finished/sampled", [1.0, 0.5, 0.5]),
        # Two samples of one word each: the same twice, or two.
        ("distinct/1", [0.5, 1.0, 0.5]),
        ("self_bleu/prompt", [1.0, 0.0, 1.0]),
        ("self_bleu/corpus", [0.0, 1.0, 1.0]),
        # log π − log π_base, a prompt's samples averaged first; the policy finds its own samples likelier.
        ("kl_to_base", [3.0, -0.5, 3.0]),
        # −log π over the tokens of each sample.
        ("entropy/token", [0.5, 5.0 / 12.0, 2.0 / 9.0]),
    ],
)
def test_known_answers(name: str, values: list[float]) -> None:
    result = measure(HELD_OUT)[name]
    assert (result.mean, result.standard_error, result.n) == pytest.approx(estimate(values))


def test_every_value_is_covered_above_and_has_one_name() -> None:
    names = [name for metric in METRICS.values() for name in metric(HELD_OUT)]
    assert len(names) == len(set(names)) == 13


def test_preferences_of_the_data_by_the_log_ratios() -> None:
    """Prompt by prompt: right with a margin of 3, wrong by 1, of three responses right, even and undecided; none."""
    pair, none = [[0.5, 1.0], [0.0, 0.5]], [[0.5, 0.5], [0.5, 0.5]]
    compared = [
        Preferences(log_ratios=[1.0, -2.0], pairwise=pair),
        Preferences(log_ratios=[0.5, 1.5], pairwise=pair),
        Preferences(log_ratios=[0.0, 2.0, 0.0], pairwise=[[0.5, 0.1, 0.7], [0.9, 0.5, 0.5], [0.3, 0.5, 0.5]]),
        Preferences(log_ratios=[9.0, 0.0], pairwise=none),
    ]
    found = METRICS["preference"](replace(HELD_OUT, compared=compared))
    assert found == {
        "preference/accuracy": Estimate.of_rate([1.0, 0.0, 0.75]),
        "preference/margin": Estimate.of([3.0, -1.0, 1.0]),
    }
    assert METRICS["preference"](replace(HELD_OUT, compared=compared[3:])) == {}


def test_accuracy_needs_a_verifier_and_the_rest_does_not() -> None:
    unverified = [replace(answer, right=None) for answer in HELD_OUT.greedy]
    without = measure(replace(HELD_OUT, greedy=unverified))
    assert without == {name: value for name, value in measure(HELD_OUT).items() if not name.startswith("accuracy")}


def test_likelihood_says_nothing_where_no_expert_response_was_scored() -> None:
    unscored = replace(HELD_OUT, expert=[replace(expert, log_prob=None) for expert in HELD_OUT.expert])
    assert METRICS["likelihood"](unscored) == {}


@pytest.mark.parametrize("field", ["log_prob", "log_prob_base"])
def test_divergence_needs_both_log_probs(field: str) -> None:
    broken = replace(HELD_OUT, sampled=[[replace(HELD_OUT.sampled[0][0], **{field: None})]])
    with pytest.raises(ValueError, match="lacks its log-prob under the policy or the base model"):
        METRICS["divergence"](broken)


def test_distinct_n_grams_of_a_prompts_samples_together() -> None:
    """Bigrams: (a b), (b a), (a b) and (a b), (b c): three distinct of five. The second prompt has none."""
    samples = [[response("a b a b"), response("a  b\nc")], [response("one"), response("")]]
    found = METRICS["diversity"](replace(HELD_OUT, sampled=samples))
    assert found["distinct/2"] == Estimate(mean=0.6, standard_error=0.0, n=1)
    assert found["distinct/1"].mean == pytest.approx((3 / 7 + 1) / 2)
    assert METRICS["diversity"](replace(HELD_OUT, sampled=[[response("")]] * 3)) == {}
