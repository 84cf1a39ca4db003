"""The stability monitor's checks, on exact games whose behaviour is known and on histories made by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from sparring.games import ImitationGame, stability
from sparring.metrics import Estimate
from sparring.metrics.stability import (
    CHECKS,
    History,
    Limits,
    Reading,
    StabilityConfig,
    examine,
    oscillation_index,
)
from sparring.metrics.stability.advice import ADVICE
from sparring.objectives import OBJECTIVES

EXPERT = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
NEAR = torch.tensor([0.41, 0.29, 0.195, 0.105], dtype=torch.float64)
FAR = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)


def play(name: str, initial: torch.Tensor, iterations: int = 6, **options: Any) -> Any:
    return ImitationGame(expert=EXPERT, initial=initial).play(OBJECTIVES[name](**options), iterations=iterations)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("spin", {"beta": 0.5}),  # repeats every second iteration
        ("spin", {"beta": 0.6}),
        ("spin", {"beta": 0.8}),
        ("spin", {"beta": 0.4}),  # swings ever wider
        ("spin", {"beta": 2.0}),  # comes from one side
        ("spif", {"beta": 1.0, "reward_bound": 3.0}),
        ("spif", {"beta": 1.0, "reward_bound": 1.0}),
        ("space", {"beta": 0.7}),
        ("renyi", {"beta": 0.5}),
    ],
)
def test_near_the_expert_the_index_is_what_the_stability_number_says(name: str, options: dict[str, Any]) -> None:
    """The error is multiplied by 1 − e an iteration, so a share e − 1 of every step is taken back."""
    number = stability(OBJECTIVES[name](**options))
    assert number is not None
    found = oscillation_index(play(name, NEAR, iterations=4, **options).log_policies.tolist())
    assert found == pytest.approx(max(0.0, number.step_exponent - 1.0), abs=0.03)


@pytest.mark.parametrize("initial", [NEAR, FAR], ids=["near", "far"])
def test_a_play_of_period_two_has_index_one_in_every_number(initial: torch.Tensor) -> None:
    found = play("spin", initial, beta=0.5)
    assert oscillation_index(found.log_policies.tolist()) == pytest.approx(1.0, abs=1e-6)
    for series in (found.loss, found.metrics["rewards/margins"], found.kl):
        assert oscillation_index([[value] for value in series.tolist()]) == pytest.approx(1.0, abs=1e-5)


def test_from_far_away_the_index_tells_a_cycle_from_a_play_that_converges() -> None:
    for options in ({"beta": 1.0}, {"beta": 2.0}):
        found = play("spin", FAR, iterations=4, **options)
        assert oscillation_index(found.log_policies.tolist()) == pytest.approx(0.0, abs=1e-6)
    converging = play("spif", FAR, iterations=4, beta=1.0, reward_bound=2.0)
    assert oscillation_index(converging.log_policies.tolist()) < 0.2
    cycling = play("spif", FAR, beta=1.0, reward_bound=8.0)
    assert oscillation_index(cycling.log_policies[-4:].tolist()) > 0.95


def test_the_index_of_simple_series() -> None:
    assert oscillation_index([[0.0], [1.0], [0.0], [1.0]]) == 1.0
    assert oscillation_index([[0.0], [1.0], [2.0], [3.0]]) == 0.0
    assert oscillation_index([[0.0], [1.0], [-2.0]]) == 3.0
    assert oscillation_index([[5.0, 1.0]] * 4) == 0.0
    # One of two numbers repeats, the other goes on: what is undone is half of what was done.
    assert oscillation_index([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]]) == 0.5


def test_noise_around_a_standstill_has_index_one_half() -> None:
    torch.manual_seed(0)
    assert oscillation_index(torch.randn(6, 4000).tolist()) == pytest.approx(0.5, abs=0.03)


def estimate(mean: float, error: float = 0.0) -> Estimate:
    return Estimate(mean=mean, standard_error=error, n=32)


def history(
    evaluations: list[dict[str, float | Estimate]],
    *,
    training: list[dict[str, float]] | None = None,
    log_probs: list[list[float]] | None = None,
) -> History:
    """Policies 0 … T with what was measured on each, and what training logged in each of the T iterations."""
    count = len(evaluations) - 1
    return History(
        evaluations={
            policy: {name: value if isinstance(value, Estimate) else estimate(value) for name, value in values.items()}
            for policy, values in enumerate(evaluations)
        },
        training={
            number: {name: estimate(value) for name, value in values.items()}
            for number, values in enumerate(training or [{}] * count)
        },
        expert_log_probs=dict(enumerate(log_probs or [[]] * (count + 1))),
    )


def read(check: str, *args: Any, **kwargs: Any) -> Reading:
    reading = CHECKS[check](history(*args, **kwargs))
    assert reading is not None
    return reading


def test_oscillation_looks_at_log_probs_from_two_steps_on_and_at_numbers_from_three() -> None:
    swings = [[-1.0, -2.0], [-2.0, -1.0], [-1.0, -2.0]]
    assert CHECKS["oscillation"](history([{}] * 2, log_probs=swings[:2])) is None
    reading = read("oscillation", [{}] * 3, log_probs=swings)
    assert (reading.value, "expert's log-probabilities" in reading.text) == (1.0, True)
    losses = [{"objective": value} for value in (0.0, 1.0, 0.5, 1.0, 0.5)]
    assert CHECKS["oscillation"](history(losses[:4])) is None
    reading = read("oscillation", losses)
    assert (reading.value, "the loss" in reading.text) == (1.0, True)


def test_the_largest_index_counts_and_only_the_last_five_steps() -> None:
    calm = [[float(step)] for step in range(8)]
    margins = [{"rewards/margins": value} for value in (0.0, 9.0, 0.0, 9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)]
    assert read("oscillation", margins[:5], log_probs=calm[:5]).value > 0.9
    assert read("oscillation", margins, log_probs=[*calm, [8.0], [9.0]]).value == 0.0


def test_what_moves_within_the_noise_stands_still() -> None:
    noisy = [{"objective": estimate(value, error=1.0)} for value in (0.0, 1.0, 0.5, 1.0, 0.5)]
    assert read("oscillation", noisy).value == 0.0


def test_the_noise_of_a_move_is_that_of_the_value_it_is_measured_from() -> None:
    """2 ± 0.1 is within twice the error of 1 ± 1, which is kept; 0 ± 0.1 then is compared with that 1 ± 1 as well."""
    values = [(1.0, 1.0), (2.0, 0.1), (0.0, 0.1), (2.0, 0.1), (0.0, 0.1)]
    noisy = [{"objective": estimate(mean, error)} for mean, error in [(0.0, 0.0), *values]]
    assert read("oscillation", noisy).value == 0.0


def test_what_is_no_number_is_an_alarm_of_every_check() -> None:
    nan = float("nan")
    calm = {
        "entropy/token": 1.0,
        "distinct/2": 0.5,
        "length/sampled": 9.0,
        "length/expert": 9.0,
        "objective": 0.5,
        "rewards/margins": 1.0,
        "rewards/expert": 1.0,
        "rewards/past_bound": 0.0,
    }
    log_probs = [[-1.0, -2.0]] * 5
    findings = examine(history([calm] * 5, log_probs=log_probs), StabilityConfig())
    assert {finding.check: finding.status for finding in findings} == dict.fromkeys(CHECKS, "ok")
    broken = history([calm] * 4 + [dict.fromkeys(calm, nan)], log_probs=log_probs)
    findings = examine(broken, StabilityConfig())
    assert {finding.check: finding.status for finding in findings} == dict.fromkeys(CHECKS, "alarm")
    for each in (nan, float("-inf")):
        reading = read("oscillation", [{}] * 5, log_probs=[*log_probs[:4], [each, -2.0]])
        assert math.isnan(reading.value)


def test_training_stands_in_where_nobody_measured_the_game_on_held_out_prompts() -> None:
    logged = [{"rewards/margins": value} for value in (1.0, 0.5, 1.0, 0.5)]
    assert read("oscillation", [{}] * 5, training=logged).value == 1.0
    reading = read("displacement", [{}] * 2, training=[{"rewards/chosen": -0.5, "rewards/margins": 1.0}])
    assert reading.value == 0.5
    assert "preferred" in reading.text


def test_the_reward_bound_is_that_of_the_last_iteration() -> None:
    shares: list[dict[str, float]] = [{}, {"rewards/past_bound": 0.9}, {"rewards/past_bound": 0.3}]
    assert read("reward_bound", shares).value == 0.3
    assert CHECKS["reward_bound"](history([{}, {}])) is None


@pytest.mark.parametrize(
    ("reward", "error", "margin", "value"),
    [
        (0.5, 0.0, 1.0, 0.0),
        (-0.5, 0.0, 2.0, 0.25),
        (-0.5, 0.3, 2.0, 0.0),
        (-3.0, 0.0, 1.0, 3.0),
        (-1.0, 0.0, -1.0, 0.0),
    ],
)
def test_displacement_is_what_the_expert_pays_for_the_margin(
    reward: float, error: float, margin: float, value: float
) -> None:
    measured = {"rewards/expert": estimate(reward, error), "rewards/margins": margin}
    assert read("displacement", [{}, measured]).value == pytest.approx(value)


@pytest.mark.parametrize(("check", "name"), [("entropy", "entropy/token"), ("diversity", "distinct/2")])
def test_collapse_is_what_is_gone_since_play_began(check: str, name: str) -> None:
    assert read(check, [{name: 0.8}, {name: 0.5}, {name: 0.2}]).value == pytest.approx(0.75)
    assert read(check, [{name: 0.5}, {name: 0.8}]).value == 0.0
    assert CHECKS[check](history([{}, {name: 0.5}])) is None


@pytest.mark.parametrize(
    ("first", "expert", "now", "factor"),
    [(60, 30, 30, 1.0), (60, 30, 45, 1.0), (60, 30, 90, 1.5), (30, 60, 15, 2.0), (30, 30, 33, 1.1)],
)
def test_length_drifts_where_it_leaves_what_lies_between_start_and_expert(
    first: float, expert: float, now: float, factor: float
) -> None:
    start = {"length/sampled": float(first), "length/expert": float(expert)}
    assert read("length", [start, {"length/sampled": float(now)}]).value == pytest.approx(factor)


def test_without_an_expert_length_drifts_from_the_first_policy() -> None:
    assert read("length", [{"length/sampled": 30.0}, {"length/sampled": 15.0}]).value == 2.0
    assert CHECKS["length"](history([{}, {}])) is None


def test_losses_of_different_phases_are_not_compared() -> None:
    losses = [{"objective": value} for value in (0.0, 1.0, 0.5, 1.0, 0.5)]
    assert CHECKS["oscillation"](replace(history(losses), phase_start=1)) is None


def test_limits_turn_a_reading_into_a_finding() -> None:
    limits = Limits(warn=0.5, alarm=1.0)
    for value, status, threshold in ((0.4, "ok", 0.5), (0.5, "warn", 0.5), (1.0, "alarm", 1.0)):
        finding = limits.judge("length", 3, Reading(value=value, text="so"))
        assert finding.to_json() == {
            "check": "length",
            "iteration": 3,
            "status": status,
            "value": value,
            "threshold": threshold,
            "text": "so",
        }
    assert limits.judge("length", 0, Reading(value=float("nan"), text="")).status == "alarm"
    with pytest.raises(ValidationError, match=r"alarm \(0\.1\) must not be below warn \(0\.2\)"):
        Limits(warn=0.2, alarm=0.1)


def test_a_history_is_examined_by_every_check_that_has_something_to_look_at() -> None:
    first = {"length/sampled": 10.0, "length/expert": 10.0, "entropy/token": 1.0}
    found = examine(history([first, {"length/sampled": 30.0, "entropy/token": 0.9}]), StabilityConfig())
    assert [(finding.check, finding.status) for finding in found] == [("entropy", "ok"), ("length", "alarm")]
    assert examine(history([{}, {}]), StabilityConfig()) == []


def test_what_is_not_well_says_what_it_means_and_what_to_do() -> None:
    entropy = [{"entropy/token": 0.0324}, {"entropy/token": 0.00581}]
    (alarm,) = examine(history(entropy), StabilityConfig())
    assert alarm.status == "alarm"
    assert alarm.text.startswith(
        "entropy a token: 0.00581, 0.0324 when play began; 82% is gone (samples of a prompt are nearly alike"
    )
    assert "lower training.learning_rate" in alarm.text
    (well,) = examine(history([entropy[0], entropy[0]]), StabilityConfig())
    assert well.text.endswith("is gone")


def test_every_check_has_limits_an_explanation_and_a_place_in_the_documentation() -> None:
    assert set(CHECKS) == set(StabilityConfig.model_fields) == set(ADVICE)
    page = (Path(__file__).parents[2] / "docs" / "stability.md").read_text(encoding="utf-8")
    for name in CHECKS:
        assert f"        {name}: " in (StabilityConfig.__doc__ or "")
        assert f"`{name}`" in page
