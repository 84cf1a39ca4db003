"""The answers that got better and that got worse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from reports.whole_run import answer, rate, write_run
from sparring.files import read_json, remove, write_json
from sparring.policies import BASE
from sparring.reports.changes import Changes, changes
from sparring.reports.page import render
from sparring.reports.run import run_page
from sparring.reports.summary import Summary, summarize
from sparring.run_directory import RunDirectory
from sparring.shard_files import write_shard
from sparring.shards import answers_path, held_out_verdicts_path
from sparring.stage_directory import StageDirectory


def found(summary: Summary) -> Changes:
    told = changes(summary, summary.answers())
    assert told is not None
    return told


def rewrite(stage: StageDirectory, rows: list[dict[str, Any]]) -> None:
    remove(answers_path(stage))
    write_shard(answers_path(stage), rows)


def test_what_the_verifier_calls_better_is_shown_before_and_after(tmp_path: Path) -> None:
    """Right are, of four prompts, 1 0 0 1 after the warm-up and 1 1 1 1 in the best policy."""
    told = found(summarize(write_run(tmp_path).path))
    assert (told.before, told.after, told.told_by, told.kind) == ("warm-up", "iteration 1", "verifier", "greedy")
    assert told.counts == (2, 0, 4)
    assert [change.index for change in told.better] == [1, 2]
    # The token that ended an answer is left out; one that was cut is shown to its end.
    assert told.better[0].after == "= 7<|im_end|"
    assert told.better[0].before == "no idea<|im_end|>"
    assert told.worse == []


def test_where_the_best_policy_is_none_of_self_play_the_best_of_that_is_shown(tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    write_json(directory.result, read_json(directory.result) | {"best": "control/000"})
    for number, right in enumerate(([1.0] * 4, [1.0, 0.0] * 2)):
        write_json(directory.iteration(number).evaluation, {"accuracy/greedy": rate(right)})
    assert found(summarize(directory.path)).after == "iteration 0"
    write_json(directory.result, read_json(directory.result) | {"metric": None})
    assert found(summarize(directory.path)).after == "iteration 1"


def test_what_got_worse_and_no_more_than_three(tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    for stage, right in ((directory.warmup, True), (directory.iteration(1), False)):
        rewrite(stage, [answer("greedy", index, "x", right=right) for index in range(5)])
    told = found(summarize(directory.path))
    assert (told.counts, told.better, [change.index for change in told.worse]) == ((0, 5, 5), [], [0, 1, 2])


def judged(stage: StageDirectory, rates: list[float | None]) -> None:
    """A judge's verdicts on a policy's first samples beside the base model's."""
    asked = {"digest": "", "ties": 0, "abstentions": 0, "unparsable": 0, "prompt_tokens": 0, "completion_tokens": 0}
    rows = [
        {"index": index, "pairwise": [[0.5, rate], [None if rate is None else 1 - rate, 0.5]], "cost": 0.0, **asked}
        for index, rate in enumerate(rates)
    ]
    write_shard(held_out_verdicts_path(stage, BASE, 0), rows)


def unverified(directory: RunDirectory, *stages: StageDirectory) -> None:
    for stage in stages:
        sides = [answer("sampled", index, f"of {stage.path.name}") for index in range(4)]
        likelihood = -4.0 if stage == directory.base else -1.0
        sides += [answer("greedy", index, f"greedy of {stage.path.name}") for index in range(4)]
        sides += [answer("expert", index, "xx", log_prob=likelihood * (1 + index)) for index in range(4)]
        rewrite(stage, sides)


def test_without_a_verifier_the_judge_tells_and_without_one_the_likelihood(tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    remove(directory.warmup.path)
    last = directory.iteration(1)
    unverified(directory, directory.base, directory.iteration(0), last)
    # (−1 + 4)(1 + index)/2 nats a token: the last prompt changed most.
    told = found(summarize(directory.path))
    assert (told.told_by, told.kind, told.counts) == ("likelihood", "greedy", (4, 0, 4))
    assert [change.index for change in told.better] == [3, 2, 1]
    judged(last, [1.0, 0.5, None, 0.25])
    last.take_inventory()
    told = found(summarize(directory.path))
    assert (told.before, told.told_by, told.kind, told.counts) == ("base", "judge", "sampled", (1, 1, 3))
    assert [(change.index, change.before) for change in told.better] == [(0, "of bas")]
    assert [change.index for change in told.worse] == [3]


def test_a_run_without_self_play_or_without_a_change_has_none(tmp_path: Path) -> None:
    summary = summarize(write_run(tmp_path / "run").path)
    assert changes(summary, None) is None
    assert changes(replace(summary, rows=summary.rows[:2]), summary.answers()) is None
    directory = write_run(tmp_path / "same")
    for stage in (directory.warmup, directory.iteration(1)):
        rewrite(stage, [answer("greedy", index, "x", right=True) for index in range(4)])
    assert changes(summarize(directory.path), summarize(directory.path).answers()) is None


def test_what_was_asked_and_said_is_text_on_the_page(tmp_path: Path) -> None:
    directory = write_run(tmp_path)
    evil = "</p><script>alert(1)</script><img src=x onerror=alert(1)>"
    for stage, right in ((directory.warmup, False), (directory.iteration(1), True)):
        rewrite(stage, [answer("greedy", 0, evil, prompt=evil, earlier=[f"system: {evil}"], right=right)])
    write_json(directory.iteration(0).evaluation, {})
    page = run_page(summarize(directory.path))
    assert page.main.count("&lt;/p&gt;&lt;script&gt;alert(1)") == 4
    for text in (page.main, render(page)):
        assert "<script>alert" not in text
        assert "<img src=x" not in text
    assert 'href="#samples?prompt=0"' in page.main


def test_a_run_that_warms_up_has_no_start_before_it_is_measured(tmp_path: Path) -> None:
    whole = summarize(write_run(tmp_path).path)
    assert whole.start is not None
    early = replace(whole, config={**whole.config, "warmup": {"until": "end"}}, rows=whole.rows[:1])
    assert [row.name for row in early.rows] == ["base"]
    assert early.start is None
    assert replace(early, config=whole.config).start == early.rows[0]
