"""What is drawn, number by number."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from reports.whole_run import write_run
from sparring.files import read_json, write_json
from sparring.reports.cost import cost_chart, judge_counts, seconds_by_stage, stages_of
from sparring.reports.curves import Chart, learning_curves, number, policy_charts, policy_series
from sparring.reports.page import described
from sparring.reports.rewards import reward_charts
from sparring.reports.summary import summarize
from sparring.shard_files import write_shard
from sparring.shards import log_ratios_path


def steps(*events: dict[str, object]) -> list[dict[str, object]]:
    return [{"stage": "train", **event} for event in events]


def test_iterations_follow_each_other_and_their_starts_are_marked() -> None:
    events = steps(
        {"iteration": 0, "step": 5, "loss": 3.0},
        {"iteration": 0, "step": 10, "loss": 2.0},
        {"iteration": 1, "step": 5, "loss": 1.0, "epoch": 1.0, "rewards/margins": 0.5},
    )
    loss, margins = learning_curves(events)
    assert (loss.title, margins.title) == ("Loss", "Reward margin")
    assert loss.series == [{"name": "loss", "x": [5, 10, 15], "y": [3.0, 2.0, 1.0]}]
    assert margins.series == [{"name": "rewards/margins", "x": [15], "y": [0.5]}]
    assert loss.marks == [{"x": 0, "text": "iteration 0"}, {"x": 10, "text": "iteration 1"}]


@pytest.mark.parametrize(
    ("beside", "unit"),
    [
        (["rewards/expert"], "expert − generated"),
        (["rewards/chosen"], "chosen − rejected"),
        (["rewards/chosen", "rewards/expert"], "expert − generated or chosen − rejected"),
    ],
)
def test_a_margin_is_between_the_responses_that_the_objective_compares(beside: list[str], unit: str) -> None:
    events = [
        {"iteration": n, "step": 1, "loss": 1.0, "rewards/margins": 0.5, name: 0.2} for n, name in enumerate(beside)
    ]
    assert [chart.unit for chart in learning_curves(steps(*events)) if chart.title == "Reward margin"] == [unit]


def test_the_two_rewards_share_a_chart_and_the_warm_up_has_its_own() -> None:
    values = {"iteration": 0, "step": 1, "loss": 1.0, "rewards/expert": 0.5, "rewards/generated": -0.5, "new": 2.0}
    charts = learning_curves([*steps(values), {"stage": "warmup", "step": 1, "loss": 9.0}])
    assert [chart.title for chart in charts] == ["Loss", "Implicit rewards", "new", "Loss in the warm-up"]
    assert [series["name"] for series in charts[1].series] == ["rewards/expert", "rewards/generated"]


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ([2e-5, 2e-5], (0.0, 2.5e-5)),
        ([-3.0], (-3.75, 0.0)),
        ([0.0, 0.0], (0.0, 1.0)),
        ([1e-5, 2e-5], None),
        ([None], None),
    ],
)
def test_an_axis_fits_values_that_are_all_one(values: list[float | None], ends: tuple[float, float] | None) -> None:
    """Plotly would draw a learning rate of 2e-5 at 0, on an axis from −1 to 1."""
    chart = Chart(title="T", unit="", kind="steps", series=[{"name": "a", "x": [*range(len(values))], "y": values}])
    assert chart.to_json()["range"] == (None if ends is None else [*ends])
    assert replace(chart, kind="bars").range is None


def test_an_axis_has_room_for_error_bars() -> None:
    series = policy_series("a", ["base"], [0.0], [(0.0, 0.3244)])
    assert Chart(title="T", unit="", kind="policies", series=[series]).range is None


def test_many_points_become_means_of_neighbours() -> None:
    events = steps(*({"iteration": 0, "step": n + 1, "loss": float(n % 2)} for n in range(4001)))
    (loss,) = learning_curves(events)
    assert len(loss.series[0]["x"]) == 1334
    assert loss.series[0]["x"][:2] == [3, 6]
    assert loss.series[0]["y"][:2] == pytest.approx([1 / 3, 2 / 3], abs=1e-6)


@pytest.mark.parametrize(
    ("value", "shown"), [(float("nan"), None), (float("inf"), None), (None, None), (1 / 3, 0.333333)]
)
def test_what_is_no_number_is_left_open(value: float | None, shown: float | None) -> None:
    assert number(value) == shown


def test_the_truth_stands_beside_the_estimate(tmp_path: Path) -> None:
    summary = summarize(write_run(tmp_path).path)
    charts = policy_charts(summary.rows)
    estimated, kl = charts["divergence"]
    assert [series["name"] for series in estimated.series] == ["divergence_estimate", "truth/divergence"]
    assert estimated.series[0]["x"] == ["iteration 0", "iteration 1"]
    assert estimated.series[0]["y"] == pytest.approx([0.3, 0.2])
    assert (estimated.series[0]["low"], estimated.series[0]["high"]) == ([0.25, 0.15], [0.35, 0.25])
    assert [series["name"] for series in kl.series] == ["truth/forward_kl"]
    assert [chart.title for chart in charts["quality"]] == ["Accuracy"]


def test_a_truth_that_is_not_known_here_is_drawn_too(tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    write_json(directory.base.evaluation, {"truth/hellinger": {"mean": 0.1, "standard_error": 0.0, "n": 4}})
    charts = policy_charts(summarize(tmp_path).rows)
    assert charts["divergence"][-1].title == "Measured otherwise"
    assert charts["divergence"][-1].series[0]["x"] == ["base"]


def test_rewards_are_the_scaled_log_ratios_beside_their_bound(tmp_path: Path) -> None:
    summary = summarize(write_run(tmp_path, objective={"name": "spif", "beta": 2.0, "reward_bound": 4.0}).path)
    (chart,) = reward_charts(summary)
    assert [(series["name"], series["x"]) for series in chart.series[:2]] == [
        ("expert", "iteration 0"),
        ("generated", "iteration 0"),
    ]
    assert chart.series[0]["y"] == [0.0, 1.0, 2.0, 3.0]
    assert chart.series[1]["y"] == [0.0, 0.5, -1.0, 0.5, -2.0, 0.5, -3.0, 0.5]
    assert [line["y"] for line in chart.lines] == [4.0, -4.0]


def test_without_a_beta_the_log_ratios_themselves_are_shown(tmp_path: Path) -> None:
    (chart,) = reward_charts(summarize(write_run(tmp_path, objective={"name": "sppo", "eta": 1.0}).path))
    assert (chart.title, chart.lines) == ("Log ratios to the opponent", [])


def test_rewards_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    for iteration, generated in enumerate(([math.nan, -math.inf], [math.inf, 0.25])):
        path = log_ratios_path(directory.iteration(iteration))
        path.unlink()
        write_shard(path, [{"index": 0, "expert": math.nan, "generated": generated}])
    (chart,) = reward_charts(summarize(tmp_path))
    assert [(series["name"], series["x"], series["y"]) for series in chart.series] == [
        ("generated", "iteration 1", [0.25])
    ]
    assert "generated, iteration 1: 1 values, median 0.25" in described(chart)


def test_every_phase_has_its_own_rewards(tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    config = yaml.safe_load(directory.config.read_text())
    played = [{"name": "spin", "beta": 0.5}, {"name": "sppo", "eta": 1.0}]
    phases = [
        {"iterations": 1, "objective": each, "opponent": {"name": "previous"}, "regularizers": []} for each in played
    ]
    directory.config.write_text(yaml.safe_dump(config | {"phases": phases}))
    manifest = read_json(directory.manifest)
    known = [
        {"settings": {"beta": 0.5}, "stability": "β = 0.5: at the edge"},
        {"settings": {"eta": 1.0}, "stability": None},
    ]
    write_json(directory.manifest, manifest | {"phases": known, "config": directory.config_digest()})
    summary = summarize(tmp_path)
    assert [(str(phase), phase.iterations) for phase in summary.phases] == [
        ("spin beta=0.5", range(1)),
        ("sppo eta=1.0", range(1, 2)),
    ]
    first, second = reward_charts(summary)
    assert (first.title, second.title) == (
        "Rewards of held-out responses, phase 0: spin",
        "Log ratios to the opponent, phase 1: sppo",
    )
    assert first.series[0]["y"] == [0.0, 0.25, 0.5, 0.75]
    assert {series["x"] for series in second.series} == {"iteration 1"}


def test_time_is_summed_by_policy_and_stage(tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    # A stage that was killed and went on has two times.
    directory.log({"kind": "time", "stage": "train", "iteration": 1, "seconds": 5.0})
    directory.log({"kind": "time", "stage": "warmup", "seconds": 7.0})
    directory.log({"kind": "time", "stage": "demonstrate", "seconds": 9.0})
    seconds = seconds_by_stage(directory.events())
    assert seconds == {
        "base": {"evaluate": 20.0},
        "iteration 0": {"generate": 100.0, "train": 30.0, "evaluate": 50.0},
        "iteration 1": {"generate": 100.0, "train": 35.0, "evaluate": 50.0},
        "warm-up": {"warmup": 7.0},
        "teacher": {"demonstrate": 9.0},
    }
    chart = cost_chart(seconds)
    assert chart is not None
    assert chart.unit == "minutes"
    generate = next(series for series in chart.series if series["name"] == "generate")
    assert generate["y"] == pytest.approx([0.0, 100 / 60, 100 / 60, 0.0, 0.0], abs=1e-5)
    assert cost_chart({}) is None
    mixed = {"base": {"evaluate": 1.0}, "iteration 0": {"rest": 1.0, "train": 1.0, "generate": 1.0, "evaluate": 1.0}}
    assert stages_of(mixed) == ["generate", "train", "evaluate", "rest"]


def test_the_judge_is_counted_by_iteration(tmp_path: Path) -> None:
    assert judge_counts(write_run(tmp_path).events()) == [
        {"iteration": 0, "ties": 3, "cost": 0.5},
        {"iteration": 1, "ties": 3, "cost": 0.5},
    ]
