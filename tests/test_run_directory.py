"""The run directory: where things are, and events."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparring.errors import InputError
from sparring.policies import BASE
from sparring.run_directory import RunDirectory


def test_events_are_logged_once_a_step_as_last_seen(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.events() == []
    train = {"stage": "train", "iteration": 0}
    run.log({"stage": "warmup", "step": 1, "loss": 9.0})
    run.log({**train, "step": 1, "loss": 3.0})
    run.log({**train, "step": 2, "loss": 2.0})
    run.log({**train, "step": 3, "loss": 99.0})
    run.log({**train, "step": 2, "loss": 2.0})  # resumed from the checkpoint of step 1
    run.log({**train, "step": 3, "loss": 1.0})
    run.log({"stage": "train", "iteration": 1, "step": 3, "loss": 0.5})
    steps = [(event["stage"], event.get("iteration"), event["step"], event["loss"]) for event in run.events()]
    assert steps == [
        ("warmup", None, 1, 9.0),
        ("train", 0, 1, 3.0),
        ("train", 0, 2, 2.0),
        ("train", 0, 3, 1.0),
        ("train", 1, 3, 0.5),
    ]


def test_an_iteration_is_a_folder_that_a_run_names_so(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for name in ("010", "000", "1000", "0a", "02", "003.partial", "²"):
        (run.iterations / name).mkdir(parents=True)
    assert [stage.path.name for stage in run.played()] == ["000", "010", "1000"]
    assert run.stages() == [run.base]


def test_the_summary_of_a_stage_does_not_hide_its_last_step(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.log({"stage": "train", "iteration": 0, "step": 1, "loss": 0.5})
    run.log({"stage": "train", "iteration": 0, "step": 1, "train_loss": 0.5, "train_runtime": 3.0})
    (event,) = run.events()
    assert event["loss"] == 0.5
    assert event["train_runtime"] == 3.0


def test_times_of_a_stage_that_was_interrupted_all_count(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for seconds in (4.0, 6.0):
        run.log({"kind": "time", "stage": "generate", "iteration": 0, "seconds": seconds})
    assert [event["seconds"] for event in run.events()] == [4.0, 6.0]


def test_where_the_policies_are_without_a_warmup(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.weights(BASE) is None
    assert run.weights(0) is None
    assert run.stage(BASE) == run.stage(0) == run.base
    assert run.weights(1) == tmp_path / "iterations" / "000" / "model"
    assert run.stage(12).evaluation == tmp_path / "iterations" / "011" / "evaluation.json"


def test_where_the_policies_are_after_a_warmup(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.warmup.model.mkdir(parents=True)
    assert run.weights(BASE) is None
    assert run.stage(BASE) == run.base
    assert run.weights(0) == tmp_path / "warmup" / "model"
    assert run.weights(1) == tmp_path / "iterations" / "000" / "model"


@pytest.mark.parametrize("name", ["config.yaml", "iterations/005", "base/../manifest.json", "warmup/model", ".lock"])
def test_nothing_of_the_run_is_written_over(tmp_path: Path, name: str) -> None:
    run = RunDirectory(tmp_path / "run")
    with pytest.raises(InputError, match="this is a part of the run itself"):
        run.refuse_own(tmp_path / "run" / name)
    for free in (run.report, run.path / "iterations.html", tmp_path / "base"):
        run.refuse_own(free)
