"""What a person reads in the terminal, wide or narrow, and what a program reads."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from reports.finished_run import estimate, write_run
from sparring.cli.output import print_report
from sparring.cli.report import report_command
from sparring.files import read_json, write_json
from sparring.reports.comparison import comparison_page
from sparring.reports.page import render
from sparring.reports.run import run_page
from sparring.reports.summary import summarize
from sparring.reports.terminal import Policies, costs, training


def shown(table: RenderableType, width: int) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in text.splitlines() if line[0] in "│┃"]


def test_that_ties_count_half_is_said_below_a_win_rate_alone(tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    assert "counts half" not in shown(Policies(summarize(tmp_path)), 120)
    stage = directory.iteration(0)
    write_json(stage.evaluation, read_json(stage.evaluation) | {"win_rate/base": estimate(0.75)})
    assert shown(Policies(summarize(tmp_path)), 120).rstrip().endswith("In a win rate a tie counts half.")
    for page in (run_page(summarize(tmp_path)), comparison_page([summarize(tmp_path)])):
        assert "In a win rate a tie counts half." in render(page)


def test_a_line_a_policy_and_each_column_as_a_curve(tmp_path: Path) -> None:
    summary = summarize(write_run(tmp_path).path)
    assert cells(shown(Policies(summary), 120)) == [
        ["", "accuracy,", "divergence"],
        ["policy", "greedy", "estimate"],
        ["base", "0.125 ± 0.025", "–"],
        ["warm-up", "0.500 ± 0.025", "–"],
        ["iteration 0 (best)", "0.750 ± 0.025", "0.200 ± 0.025"],
        ["iteration 1", "0.250 ± 0.025", "0.300 ± 0.025"],
        ["", "▁▅█▂", "▁█"],
    ]
    assert "8 held-out prompts" in shown(Policies(summary), 120)


def test_training_and_costs(tmp_path: Path) -> None:
    summary = summarize(write_run(tmp_path).path)
    # The warm-up's loss is another one.
    assert cells(shown(training(summary), 80)) == [["curve", "", "first", "last"], ["loss", "█▅▁█▅▁", "0", "-3"]]
    assert cells(shown(costs(summary), 80)) == [
        ["stage", "time", "share"],
        ["train", "60 s", "75%"],
        ["evaluate", "20 s", "25%"],
        ["all", "80 s", ""],
        ["peak memory", "1.50 GiB", ""],
    ]


@pytest.mark.parametrize("width", [20, 40, 57, 58, 59, 80, 200])
def test_nothing_is_lost_on_a_narrow_terminal(tmp_path: Path, width: int) -> None:
    summary = summarize(write_run(tmp_path).path)
    for table in (Policies(summary), training(summary), costs(summary)):
        text = shown(table, width)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
    columns = zip(*cells(shown(Policies(summary), width)), strict=True)
    text = "".join("".join(column) for column in columns).replace(" ", "")
    assert all(value in text for value in ("0.125±", "0.500±", "0.750±", "0.250±", "0.200±", "0.300±"))


def test_the_report_of_a_run_that_has_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path).path
    print_report(run, as_json=False)
    text = capsys.readouterr().out
    headline = "The best policy is iteration 0: greedy accuracy 0.750 ± 0.025, +0.625 ± 0.035 over the base model."
    assert headline in text
    assert "It was stopped early: accuracy/greedy fell from 0.75 to 0.25 [hard]." in text
    assert "Beware: Only 8 prompts are held out" in text
    print_report(run, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["conclusion"]["headline"] == headline
    assert told["result"]["best"] == "iterations/000"
    assert told["seconds"] == {
        "iteration 0": {"train": 30.0},
        "iteration 1": {"train": 30.0},
        "base": {"evaluate": 20.0},
    }
    assert [policy["name"] for policy in told["policies"]] == ["base", "warm-up", "iteration 0", "iteration 1"]
    assert told["policies"][2]["accuracy/greedy"] == {"mean": 0.75, "standard_error": 0.025, "n": 8}


def test_the_report_of_a_run_that_was_only_started(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path, ended=False)
    for path in (run.base, run.warmup, run.iteration(0), run.iteration(1)):
        path.evaluation.unlink()
    (run.path / "metrics.jsonl").unlink()
    print_report(run.path, as_json=False)
    assert "has not logged anything yet" in capsys.readouterr().out


def test_no_setting_of_compared_runs_is_broken_within_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown_tables: list[RenderableType] = []
    monkeypatch.setattr("sparring.cli.report.print_table", shown_tables.append)
    limits = (1600, 1800, 2000)
    runs = [
        write_run(tmp_path / str(limit), data={"source": "arithmetic", "limit": limit, "held_out": limit // 100}).path
        for limit in limits
    ]
    report_command(runs, to=tmp_path / "c.html", watch=False, port=0, as_json=False)
    (table,) = shown_tables
    narrow, wide = shown(table, 60), shown(table, 160)
    for limit, letter in zip(limits, "ABC", strict=True):
        settings = f"data.limit = {limit}, data.held_out = {limit // 100}"
        assert f"\n{letter}: {settings}\n" in narrow
        assert f" {settings} " in wide
    assert [row[0] for row in cells(narrow) if row[0] in "ABC" and row[0]] == ["A", "A", "B", "B", "C", "C"]
