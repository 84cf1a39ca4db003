"""Several runs: which belong together, and what stands in their table."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from reports.whole_run import answer, estimate, write_answers, write_run
from sparring.files import read_json, write_json
from sparring.reports.comparison import against_first, comparison_page, group, group_table, write_comparison
from sparring.reports.summary import Summary, summarize
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.manifest import elsewhere
from sparring.shard_files import write_shard
from sparring.shards import answers_path

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
    assert spif.label == "objective.name = spif, objective.beta = 1, objective.reward_bound = 2"
    assert spin.label == "objective.name = spin, objective.beta = 0.1"
    assert [run.path.name for run in spif.runs] == ["b", "a"]
    assert (spif.seeds, spin.seeds) == ("2 (0, 1)", "1 (0)")
    assert group(runs[:2])[0].label == "the same settings"


def test_a_number_that_is_written_with_and_without_a_point_is_one_setting(runs: list[Summary]) -> None:
    runs[0].config["objective"]["beta"] = 1
    assert [each.seeds for each in group(runs[:2])] == ["2 (0, 1)"]
    assert "objective.beta = 1," in group(runs)[0].label


def test_runs_of_code_that_changed_between_them_are_told_apart(runs: list[Summary]) -> None:
    for run, digest in zip(runs[:2], ("1a" * 32, "2b" * 32), strict=True):
        run.config["objective"] = {"name": "my_objective:Margin"}
        run.manifest["own_code"] = {"my_objective": {"sha256": digest, "folder": "."}}
    assert [each.label for each in group(runs[:2])] == [f"own_code.my_objective = {text * 4}" for text in ("1a", "2b")]
    runs[0].manifest["own_code"] = runs[1].manifest["own_code"]
    assert [each.seeds for each in group(runs[:2])] == ["2 (0, 1)"]


def test_how_servers_were_reached_sets_no_runs_apart(runs: list[Summary]) -> None:
    """The manifest says which settings those are, in phases and in the evaluation too."""

    def play(run: Summary, place: int, **changes: Any) -> None:
        address = f"http://127.0.0.1:{place}/v1"
        judge = {"name": "llm", "model": "m", "base_url": address, "concurrency": place} | changes
        phase = {"objective": {"name": "sppo"}, "judge": judge, "generation": {"temperature": 0.5}}
        config = SelfPlayConfig.from_mapping(
            {
                "output": str(place),
                "seed": place,
                "data": {"source": "arithmetic", "limit": 4},
                "generation": {"name": "server", "endpoints": [address], "samples_per_prompt": 2},
                "workers": {"count": place},
                "reuse": place == 1,
                "phases": [phase, phase],
                "evaluation": {"judge": judge},
            }
        )
        run.config.clear()
        run.config.update(yaml.safe_load(config.to_yaml()))
        run.manifest["elsewhere"] = elsewhere(config)

    for place, run in enumerate(runs[:2], 1):
        play(run, place)
    (one,) = group(runs[:2])
    assert (one.label, one.size) == ("the same settings", 2)
    play(runs[0], 1, model="another")
    assert [each.runs[0].config["evaluation"]["judge"]["model"] for each in group(runs[:2])] == ["another", "m"]


def test_a_setting_that_is_not_there_is_not_missed(runs: list[Summary]) -> None:
    runs[0].manifest["elsewhere"] += ["generation.endpoints", "phases.3.judge.model", "seed.nothing", "phases.x"]
    assert len(group(runs[:2])) == 1


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
    assert rows[3][3] == "1.000 [0.51, 1.00]"


def test_two_runs_on_the_same_prompts_are_compared_prompt_by_prompt(tmp_path: Path) -> None:
    """The other's last policy is right where this one's is but on two of four: √((2 + 1) − 2²/6)/6, as of a gain."""
    spif, spin = write_run(tmp_path / "a"), write_run(tmp_path / "b", objective=SPIN)
    write_answers(spin.iteration(1), 1)
    summaries = [summarize(each.path) for each in (spif, spin)]
    (told,) = against_first(summaries)
    reach = 1.959963984540054 * math.sqrt(7 / 3) / 6
    low, high = (f"{end:+.3f}".replace("-", "−") for end in (-0.5 - reach, -0.5 + reach))
    assert told == (
        "B over A, the last policies on the same 4 prompts: "
        f"greedy accuracy −0.500 [{low}, {high}] (95 % interval, paired)."
    )
    write_comparison(summaries, tmp_path / "both.html")
    assert f"greedy accuracy −0.500 [{low}, {high}]" in (tmp_path / "both.html").read_text(encoding="utf-8")


def test_runs_of_several_seeds_are_paired_by_seed(tmp_path: Path) -> None:
    directories = [write_run(tmp_path / f"{seed}", seed=seed) for seed in (0, 1)]
    directories += [write_run(tmp_path / f"spin-{seed}", seed=seed, objective=SPIN) for seed in (0, 1, 2)]
    # Of seed 1 it is right on one prompt less, of seed 0 on as many.
    write_answers(directories[3].iteration(1), 2)
    (told,) = against_first([summarize(each.path) for each in directories])
    assert told.endswith("greedy accuracy −0.125 ± 0.177 (± standard deviation over 2 seeds).")


def test_runs_on_other_prompts_are_said_not_to_compare(tmp_path: Path) -> None:
    spif, spin = write_run(tmp_path / "a"), write_run(tmp_path / "b", seed=1, objective=SPIN)
    write_shard(answers_path(spin.iteration(1)), [answer("greedy", 0, "= 3", right=True, prompt="Add 2 and 1.")])
    (told,) = against_first([summarize(each.path) for each in (spif, spin)])
    assert "were measured on different held-out prompts, so their numbers do not compare: give both the same" in told
    without = write_run(tmp_path / "c", seed=1, objective=SPIN, verified=False)
    assert against_first([summarize(each.path) for each in (spif, without)]) == []


def test_the_page_overlays_the_curves(runs: list[Summary]) -> None:
    page = comparison_page(runs)
    loss = page.charts["learning-loss"]
    assert [(series["group"], series["dash"]) for series in loss["series"]] == [(0, 0), (0, 1), (1, 0)]
    assert loss["series"][1]["name"].endswith("seed 1")
    accuracy = page.charts["measured-accuracy-greedy"]
    assert accuracy["series"][0]["y"][-1] == 0.875
    assert accuracy["series"][0]["high"][-1] == pytest.approx(0.875 + math.sqrt(2 * 0.125**2), rel=1e-5)
    # Of one seed it is the interval over prompts.
    ends = [accuracy["series"][1][end][0] for end in ("low", "high")]
    assert ends == pytest.approx(runs[2].rows[0].estimates["accuracy/greedy"]["interval"], rel=1e-5)
    assert page.answers == {}


def test_runs_that_have_hardly_begun_can_be_compared(tmp_path: Path) -> None:
    begun = write_run(tmp_path / "begun", ended=False, iterations=0)
    for stage in (begun.base, begun.warmup):
        stage.evaluation.unlink()
    summaries = [summarize(begun.path), summarize(write_run(tmp_path / "done").path)]
    path = tmp_path / "both.html"
    write_comparison(summaries, path)
    assert "not yet" in path.read_text(encoding="utf-8")


def test_labels_have_the_whole_key(runs: list[Summary]) -> None:
    for place, run in enumerate(runs):
        run.config["training"] = {"seed": place, "name": "x"}
        run.config["warmup"] = {"training": {"seed": place}}
    label = group(runs[:2])[0].label
    assert label == "training.seed = 0, warmup.training.seed = 0"


def test_labels_that_no_legend_could_hold_have_a_letter(runs: list[Summary]) -> None:
    for place, run in enumerate(runs[:2]):
        run.config["model"] = {"name": "x" * 60 + str(place)}
    assert [each.name for each in group(runs)] == ["A", "B", "C"]
    _, rows = group_table(runs[:2])
    assert [row[0] for row in rows] == [f"A: model.name = {'x' * 60}0", "A", f"B: model.name = {'x' * 60}1", "B"]
    page = comparison_page(runs[:2])
    assert [series["name"] for series in page.charts["learning-loss"]["series"]] == ["A, seed 1", "B, seed 0"]
    many = [replace(runs[0], config=runs[0].config | {"limit": place}) for place in range(28)]
    assert [each.name for each in group(many)][:2] == ["limit = 0", "limit = 1"]
    for place, run in enumerate(many):
        run.config["note"] = "y" * 60 + str(place)
    assert [each.name for each in group(many)][24:] == ["Y", "Z", "AA", "AB"]


def test_a_chart_of_several_runs_says_its_unit_and_not_its_title_again(runs: list[Summary]) -> None:
    units = {chart["title"]: chart["unit"] for chart in comparison_page(runs).charts.values()}
    assert (units["Loss"], units["Implicit rewards"]) == ("", "rewards/expert")
