"""What is said of a game with little to teach."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from a_run import a_config, a_run, a_sample, on
from sparring.policies import Drawn
from sparring.run_directory import RunDirectory
from sparring.selfplay import loop
from sparring.selfplay.run import Run
from sparring.selfplay.stages.ties import tell_ties
from sparring.shard_files import write_shard
from sparring.shards import samples_path


@pytest.fixture
def playing(tiny_folder: Path, tmp_path: Path) -> Run:
    return a_run(tiny_folder, tmp_path / "run")


def shards(run: Run, answers: list[list[list[int]]]) -> list[Path]:
    """One shard with these responses to the first prompts."""
    path = samples_path(run.directory.iteration(0), Drawn(0, "sampled"), 0)
    rows = [
        a_sample(index=item.index, sample=k, prompt_ids=item.prompt_ids, response_ids=ids)
        for item, of_prompt in zip(run.train, answers, strict=False)
        for k, ids in enumerate(of_prompt)
    ]
    write_shard(path, rows)
    return [path]


EXPERT = [5, 2]


@pytest.mark.parametrize(
    ("answers", "same", "empty", "said"),
    [
        ([[EXPERT, [6, 2]]], 1, 0, "iteration 0: 1 of 2 generated responses are the expert's own\n"),
        ([[EXPERT], [EXPERT]], 2, 0, "warning: iteration 0: 2 of 2 generated responses are the expert's own, so there"),
        ([[EXPERT] * 19 + [[6, 2]]], 19, 0, "so there is little left to learn"),
        ([[[2], [6, 2]]], 0, 1, "1 of 2 generated responses are empty\n"),
        ([[[2]], [[2]]], 0, 2, "warning: iteration 0: 2 of 2 generated responses are empty: the model ends each"),
    ],
)
def test_ties_with_the_expert_and_empty_responses_are_said_and_logged(
    playing: Run,
    capsys: pytest.CaptureFixture[str],
    answers: list[list[list[int]]],
    same: int,
    empty: int,
    said: str,
) -> None:
    playing = on(playing, train=[replace(item, expert_ids=EXPERT) for item in playing.train])
    capsys.readouterr()
    tell_ties(playing, 0, shards(playing, answers))
    assert said in " ".join(capsys.readouterr().err.split()) + "\n"
    (event,) = playing.directory.events()
    assert (event["samples/equal_expert"], event["samples/empty"]) == (same, empty)


def test_without_experts_there_is_nobody_to_be_equal_to(playing: Run, capsys: pytest.CaptureFixture[str]) -> None:
    playing = on(playing, train=[replace(item, expert_ids=[]) for item in playing.train])
    capsys.readouterr()
    tell_ties(playing, 0, shards(playing, [[EXPERT]]))
    assert not capsys.readouterr().err


def test_where_some_prompts_have_no_expert_it_is_said_which_responses_are_counted(
    playing: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *others = playing.train
    train = [replace(first, expert_ids=EXPERT), *(replace(item, expert_ids=[]) for item in others)]
    playing = on(playing, train=train)
    capsys.readouterr()
    tell_ties(playing, 0, shards(playing, [[EXPERT, [6, 2]], [[6, 2], [6, 2]]]))
    told = " ".join(capsys.readouterr().err.split())
    assert told == "iteration 0: 1 of 2 generated responses to prompts with an expert are the expert's own"


def test_it_is_said_before_responses_are_judged_and_scored(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    for name in ("tell_ties", "score", "judge_samples"):
        original = getattr(loop, name)
        monkeypatch.setattr(loop, name, lambda *args, name=name, do=original: order.append(name) or do(*args))
    judged = {"objective": {"name": "sppo"}, "judge": {"name": "verifier", "rule": "final-number"}}
    data = {"source": "arithmetic", "limit": 2, "held_out": 0, "max_response_tokens": 4}
    sampled = {"batch_size": 4, "samples_per_prompt": 2}
    loop.run(a_config(tiny_folder, tmp_path / "run", iterations=1, data=data, generation=sampled, **judged))
    assert order == ["tell_ties", "score", "judge_samples"]


def test_of_given_preferences_nothing_was_generated_to_be_told_apart(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": f"{n}?", "chosen": f"{n}", "rejected": "x"} for n in range(2)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    data = {"source": str(tmp_path / "rows.jsonl"), "columns": {"response": "chosen"}, "held_out": 0}
    settings = {"data": data, "objective": {"name": "dpo"}, "responses": "data", "iterations": 1}
    directory = loop.run(a_config(tiny_folder, tmp_path / "run", **settings)).directory
    assert "generated" not in capsys.readouterr().err
    assert not any("samples/equal_expert" in event for event in RunDirectory(directory).events())
