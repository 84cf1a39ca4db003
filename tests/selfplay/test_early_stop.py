"""Stop before the collapse: the table of standings."""

from __future__ import annotations

from typing import Any

import pytest

from sparring.metrics import Estimate
from sparring.metrics.stability import Finding
from sparring.selfplay.config.stop import StopConfig
from sparring.selfplay.early_stop import Standing, watch


def estimates(**means: float) -> dict[str, Estimate]:
    names = {"accuracy": "accuracy/greedy", "sampled": "accuracy/sampled", "likelihood": "log_likelihood/token"}
    names |= {"won": "win_rate/base", "preferred": "preference/accuracy"}
    return {names[name]: Estimate(mean=mean, standard_error=0.0, n=32) for name, mean in means.items()}


def standing(values: list[float], name: str = "accuracy", **config: Any) -> Standing:
    return watch(StopConfig(**config), {policy: estimates(**{name: value}) for policy, value in enumerate(values)})


@pytest.mark.parametrize(
    ("values", "best", "stop"),
    [
        ([0.5], 0, False),
        ([0.5, 0.6], 1, False),
        ([0.5, 0.45], 0, False),
        ([0.5, 0.39], 0, True),
        ([0.5, 0.9, 0.85], 1, False),
        ([0.5, 0.9, 0.7], 1, True),
        # Slow decay adds up: the comparison is with the best, not with the last.
        ([0.9, 0.85, 0.82, 0.78], 0, True),
        # A fall that was made good again does not count.
        ([0.9, 0.2, 0.85], 0, False),
        # Among equals, the earliest.
        ([0.5, 0.7, 0.7, 0.7], 1, False),
        ([0.0, 0.0], 0, False),
    ],
)
def test_the_last_policy_is_compared_with_the_best(values: list[float], best: int, stop: bool) -> None:
    result = standing(values)
    assert (result.best, result.stop, result.metric) == (best, stop, "accuracy/greedy")


@pytest.mark.parametrize(("max_drop", "stop"), [(0.5, False), (0.25, False), (0.2, True), (0.0, True)])
def test_the_amount_is_what_the_configuration_says(max_drop: float, stop: bool) -> None:
    assert standing([0.75, 0.5], max_drop=max_drop).stop is stop


def test_no_drop_at_all_is_no_collapse_even_at_zero() -> None:
    assert not standing([0.5, 0.5], max_drop=0.0).stop


def test_switched_off_it_still_names_the_best() -> None:
    result = standing([0.9, 0.1], enabled=False)
    assert (result.best, result.stop) == (0, False)


def test_the_reason_holds_the_figures() -> None:
    result = standing([0.75, 0.5])
    assert result.reason.startswith("accuracy/greedy fell from 0.75 to 0.5, by 0.25, more than stop.max_drop = 0.1")
    assert standing([0.75, 0.7]).reason == "accuracy/greedy is 0.7; the best so far is 0.75"


def test_without_a_verifier_the_likelihood_is_watched() -> None:
    result = standing([-1.5, -1.45, -1.6], name="likelihood")
    assert (result.metric, result.best, result.stop) == ("log_likelihood/token", 1, True)


def test_without_a_verifier_the_judge_is_watched_where_there_is_one() -> None:
    """The base model has no rate against itself: it is even."""
    measured = {0: estimates(likelihood=-1.0), 1: estimates(likelihood=-2.0, won=0.45)}
    assert watch(StopConfig(), measured) == watch(StopConfig(metric="win_rate/base"), measured)
    assert watch(StopConfig(), measured).metric == "win_rate/base"
    assert watch(StopConfig(), measured).best == 0
    assert watch(StopConfig(), measured | {2: estimates(likelihood=-3.0, won=0.6)}).best == 2
    assert watch(StopConfig(), measured | {2: estimates(likelihood=-3.0, won=0.3)}).stop
    assert watch(StopConfig(), {0: estimates(won=0.5, accuracy=0.1)}).metric == "accuracy/greedy"


def test_without_anything_else_the_preferences_of_the_data_are_watched() -> None:
    assert standing([0.5, 0.7, 0.6], name="preferred").best == 1
    assert standing([0.5, 0.7], name="preferred").metric == "preference/accuracy"
    assert watch(StopConfig(), {0: estimates(preferred=0.5, likelihood=-1.0)}).metric == "log_likelihood/token"


def test_accuracy_goes_before_likelihood_unless_another_is_named() -> None:
    both = {
        0: estimates(accuracy=0.5, likelihood=-1.0, sampled=0.3),
        1: estimates(accuracy=0.6, likelihood=-2.0, sampled=0.1),
    }
    assert watch(StopConfig(), both).stop is False
    assert watch(StopConfig(), both).metric == "accuracy/greedy"
    for metric in ("log_likelihood/token", "accuracy/sampled"):
        result = watch(StopConfig(metric=metric), both)
        assert (result.metric, result.best, result.stop) == (metric, 0, True)


@pytest.mark.parametrize(
    ("likelihoods", "best"),
    [([-3.0, -2.0, -2.5], 1), ([-1.0, -2.0, -2.5], 0), ([-2.0, -2.0, -2.0], 0), ([-2.0, float("nan"), -1.0], 2)],
)
def test_equal_accuracies_are_told_apart_by_the_likelihood(likelihoods: list[float], best: int) -> None:
    measured = {policy: estimates(accuracy=0.0, likelihood=value) for policy, value in enumerate(likelihoods)}
    assert watch(StopConfig(), measured).best == best
    assert watch(StopConfig(), measured | {3: estimates(accuracy=0.1, likelihood=-9.0)}).best == 3


def test_nothing_held_out_means_nothing_watched() -> None:
    result = watch(StopConfig(), {0: {}, 1: {}, 2: {}})
    assert (result.metric, result.best, result.stop) == (None, 2, False)


def test_a_fall_within_the_noise_is_no_collapse() -> None:
    def noisy(mean: float) -> dict[str, Estimate]:
        return {"accuracy/greedy": Estimate(mean=mean, standard_error=0.08, n=32)}

    # Two standard errors of the difference are 2 · √2 · 0.08 = 0.226.
    assert not watch(StopConfig(), {0: noisy(0.5), 1: noisy(0.3)}).stop
    assert watch(StopConfig(), {0: noisy(0.5), 1: noisy(0.25)}).stop


def test_an_alarm_ends_a_run_that_asked_for_it() -> None:
    def found(check: str, status: str) -> Finding:
        return Finding(check=check, iteration=0, status=status, value=2.0, threshold=1.0, text="it swings")

    fine = {0: estimates(accuracy=0.5), 1: estimates(accuracy=0.6)}
    findings = [found("oscillation", "alarm"), found("length", "warn")]
    assert not watch(StopConfig(), fine, findings).stop
    assert not watch(StopConfig(alarms=("length",)), fine, findings).stop
    assert not watch(StopConfig(alarms=("oscillation",), enabled=False), fine, findings).stop
    standing = watch(StopConfig(alarms=("length", "oscillation")), fine, findings)
    assert (standing.stop, standing.best) == (True, 1)
    assert standing.reason == "the alarm of 'oscillation', which is in stop.alarms: it swings"


def test_an_alarm_of_no_check_is_refused() -> None:
    with pytest.raises(ValueError, match="check 'oscilation' is unknown; did you mean 'oscillation'"):
        StopConfig(alarms=("oscilation",))


def test_what_is_no_number_has_collapsed() -> None:
    result = standing([0.5, float("nan")])
    assert (result.best, result.stop) == (0, True)
