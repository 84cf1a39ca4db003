"""Several runs: which belong together, and what stands in their table."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from reports.whole_run import estimate, write_run
from sparring.files import read_json, write_json
from sparring.reports.comparison import comparison_page, flatten, group, group_table, write_comparison
from sparring.reports.summary import Summary, summarize

SPIN = {"name": "spin", "beta": 0.1}


@pytest.fixture
def runs(tmp_path: Path) -> list[Summary]:
    """Two seeds of spif, of which the second is right on three of four in the end, and one of spin."""
    directories = [
        write_run(tmp_path / "a", seed=1),
        write_run(tmp_path / "b", seed=0),
        write_run(tmp_path / "c", objective=SPIN),
    ]
    stage = directories[1].iteration(1)
    write_json(stage.evaluation, read_json(stage.evaluation) | {"accuracy/greedy": estimate([1.0, 1.0, 1.0, 0.0])})
    return [summarize(directory.path) for directory in directories]


def test_runs_that_differ_in_the_seed_alone_belong_together(runs: list[Summary]) -> None:
    spif, spin = group(runs)
    assert spif.label == "objective = spif, beta = 1.0, reward_bound = 2.0"
    assert spin.label == "objective = spin, beta = 0.1"
    assert [run.path.name for run in spif.runs] == ["b", "a"]
    assert (spif.seeds, spin.seeds) == ("2 (0, 1)", "1 (0)")
    assert group(runs[:2])[0].label == "the same settings"


def test_how_servers_were_reached_sets_no_runs_apart(runs: list[Summary]) -> None:
    for place, run in enumerate(runs[:2]):
        address = f"http://127.0.0.1:{place}/v1"
        judge = {"name": "llm", "model": "m", "base_url": address, "concurrency": place + 1}
        phase = {"generation": {"name": "server", "server": {"endpoints": [address]}}, "judge": judge}
        run.config.update(phase, reuse=bool(place), phases=[phase], evaluation={"judge": judge})
        judges = ("judge", "phases.0.judge", "evaluation.judge")
        run.manifest["reached_by"] = [f"{where}.{name}" for where in judges for name in ("base_url", "concurrency")]
    assert [each.label for each in group(runs[:2])] == ["the same settings"]
    runs[0].config["judge"] = runs[0].config["judge"] | {"model": "another"}
    assert [each.label for each in group(runs[:2])] == ["model = another", "model = m"]


def test_mean_and_deviation_over_seeds(runs: list[Summary]) -> None:
    spif, spin = group(runs)
    assert spif.over_seeds("iteration 1", "accuracy/greedy") == pytest.approx((0.875, math.sqrt(2 * 0.125**2)))
    assert spin.over_seeds("iteration 1", "accuracy/greedy") == (1.0, None)
    assert spin.over_seeds("iteration 1", "absent") is None


def test_the_table_compares_start_and_last_policy(runs: list[Summary]) -> None:
    head, rows = group_table(runs)
    assert head[:4] == ["settings", "runs (seeds)", "policy", "accuracy, greedy"]
    assert [row[2] for row in rows] == ["warm-up", "iteration 1"] * 2
    assert rows[1][3] == "0.875 ± 0.177"
    assert rows[3][3] == "1.000"


def test_the_page_overlays_the_curves(runs: list[Summary]) -> None:
    page = comparison_page(runs)
    loss = page.charts["learning-loss"]
    assert [(series["group"], series["dash"]) for series in loss["series"]] == [(0, 0), (0, 1), (1, 0)]
    assert loss["series"][1]["name"].endswith("seed 1")
    accuracy = page.charts["measured-accuracy-greedy"]
    assert accuracy["series"][0]["y"][-1] == 0.875
    # Of one seed it is the standard error over prompts.
    assert accuracy["series"][1]["error"][0] == pytest.approx(
        runs[2].rows[0].estimates["accuracy/greedy"]["standard_error"], rel=1e-5
    )
    assert page.answers == {}


def test_runs_that_have_hardly_begun_can_be_compared(tmp_path: Path) -> None:
    begun = write_run(tmp_path / "begun", ended=False, iterations=0)
    for stage in (begun.base, begun.warmup):
        stage.evaluation.unlink()
    summaries = [summarize(begun.path), summarize(write_run(tmp_path / "done").path)]
    path = tmp_path / "both.html"
    write_comparison(summaries, path)
    assert "not yet" in path.read_text(encoding="utf-8")


def test_labels_keep_as_much_of_a_key_as_tells_it_apart(runs: list[Summary]) -> None:
    for place, run in enumerate(runs):
        run.config["training"] = {"seed": place, "name": "x"}
        run.config["warmup"] = {"training": {"seed": place}}
    label = group(runs[:2])[0].label
    assert label == "training.seed = 0, warmup.training.seed = 0"


def test_flatten() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": {}}, "e": [1]}) == {"a.b.c": 1, "a.d": {}, "e": [1]}
