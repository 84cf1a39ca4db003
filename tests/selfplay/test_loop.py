"""The loop: its stages in order, each once, and what a resumed run does again, which is nothing."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from a_run import a_config
from sparring.files import read_json
from sparring.run_directory import RunDirectory
from sparring.selfplay import loop
from sparring.selfplay.early_stop import watch
from sparring.selfplay.loop import resume, run
from sparring.selfplay.result import Result

DATA = {"source": "arithmetic", "limit": 3, "held_out": 2, "max_response_tokens": 4}
SMALL = {"data": DATA, "generation": {"batch_size": 4}, "training": {"learning_rate": 1e-3}, "iterations": 2}


@pytest.fixture(scope="module")
def played(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    output = tmp_path_factory.mktemp("loop") / "run"
    warm = {"warmup": {"training": {"max_steps": 2}}, "stop": {"enabled": False}}
    return run(a_config(tiny_folder, output, **SMALL, **warm))


def stages(directory: RunDirectory) -> list[tuple[str, Any]]:
    """What was timed, in order."""
    return [
        (event["stage"], event.get("iteration", event.get("policy")))
        for event in directory.events()
        if event.get("kind") == "time"
    ]


def files(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_the_stages_in_order_each_once(played: Result) -> None:
    assert stages(RunDirectory(played.directory)) == [
        ("evaluate", "base"),
        ("warmup", None),
        ("evaluate", "warmup"),
        ("generate", 0),
        ("score", 0),
        ("train", 0),
        ("evaluate", "iterations/000"),
        ("generate", 1),
        ("score", 1),
        ("train", 1),
        ("evaluate", "iterations/001"),
    ]


def test_the_result_names_the_best_policy(played: Result) -> None:
    told = read_json(RunDirectory(played.directory).result)
    assert played.best == played.directory / told["model"]
    assert (played.stopped_early, played.reason) == (told["stopped_early"], told["reason"])
    assert told["best"] in {"warmup", "iterations/000", "iterations/001"}
    assert told["peak_memory_gib"] > 0.1


def test_a_finished_run_that_is_resumed_computes_nothing(played: Result) -> None:
    before, timed = files(played.directory), stages(RunDirectory(played.directory))
    again = resume(played.directory)
    assert replace(again) == played
    assert stages(RunDirectory(played.directory)) == timed
    changed = {name for name, when in files(played.directory).items() if before.get(name) != when}
    # What says how it ended is written again, and so is what the monitor found.
    assert changed == {"result.json", "stability.json"}


def test_an_iteration_that_falls_too_far_is_the_last(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts = itertools.count()

    def stops_at_the_second(*args: Any) -> Any:
        return replace(watch(*args), stop=next(verdicts) == 1, reason="it fell", best=0)

    monkeypatch.setattr(loop, "watch", stops_at_the_second)
    result = run(a_config(tiny_folder, tmp_path / "run", **SMALL | {"iterations": 3}))
    assert (result.stopped_early, result.reason, result.best) == (True, "it fell", None)
    played = [iteration for stage, iteration in stages(RunDirectory(tmp_path / "run")) if stage == "train"]
    assert played == [0]


def test_supervised_fine_tuning_generates_and_scores_nothing(tiny_folder: Path, tmp_path: Path) -> None:
    run(a_config(tiny_folder, tmp_path / "run", **SMALL | {"iterations": 1}, objective={"name": "sft"}))
    assert [stage for stage, _ in stages(RunDirectory(tmp_path / "run"))] == ["evaluate", "train", "evaluate"]
    assert not RunDirectory(tmp_path / "run").iteration(0).samples.exists()
