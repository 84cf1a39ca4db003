"""Trackers see one run, not one training after the other."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import TrainerCallback, TrainerControl, TrainerState

from sparring import SelfPlayConfig, resume, run
from sparring.files import read_json
from sparring.run_directory import RunDirectory
from sparring.trainer import trackers as module
from sparring.trainer.trackers import steps_before, tell_held_out, trackers


def test_steps_of_the_trainings_that_were_before() -> None:
    events = [
        {"stage": "warmup", "step": 3},
        {"stage": "warmup", "step": 6},
        {"kind": "time", "stage": "warmup", "seconds": 9.0},
        {"stage": "judge", "iteration": 0},
        {"stage": "train", "iteration": 0, "step": 4},
        {"stage": "train", "iteration": 1, "step": 2},
    ]
    assert steps_before(events, {"stage": "train", "iteration": 1}) == 10
    assert steps_before(events[:3], {"stage": "train", "iteration": 0}) == 6
    # A warm-up that is resumed.
    assert steps_before(events[:2], {"stage": "warmup"}) == 0


def test_a_tracker_counts_on_and_the_trainer_does_not_notice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Tracker(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            self.logged = (state.global_step, logs)

    monkeypatch.setattr(module, "get_reporting_integration_callbacks", lambda names: [Tracker for _ in names])
    (tracker,) = trackers(["any"], before=10, folder=tmp_path)
    state = TrainerState(global_step=3)
    tracker.on_log(SimpleNamespace(), state, TrainerControl(), logs={"loss": 0.5})
    assert tracker.logged == (13, {"loss": 0.5})
    assert state.global_step == 3


def test_what_was_held_out_is_told_at_its_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = []

    class Tracker(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, model: Any = None, logs: Any = None) -> None:
            told.append((state.global_step, model, logs))

        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            raise AssertionError("no training has ended")

    monkeypatch.setattr(module, "get_reporting_integration_callbacks", lambda names: [Tracker for _ in names])
    args = SimpleNamespace(report_to=["one", "other"])
    tell_held_out(args, {"accuracy/greedy": 0.5}, step=9, folder=tmp_path, model="m")
    assert told == [(9, "m", {"eval_accuracy/greedy": 0.5})] * 2


def scalars(folder: Path, name: str = "train/loss") -> list[tuple[int, float]]:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = event_accumulator.EventAccumulator(str(folder)).Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_tensorboard_sees_one_curve_over_all_iterations(tiny_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    settings = {
        "output": str(tmp_path / "run"),
        "iterations": 2,
        "model": {"name": str(tiny_folder)},
        "data": {"source": "arithmetic", "limit": 6, "held_out": 2, "max_response_tokens": 8},
        "warmup": {},
        "training": {"learning_rate": 1e-3, "per_device_train_batch_size": 2, "report_to": "tensorboard"},
    }
    directory = RunDirectory(run(SelfPlayConfig.model_validate(settings)).directory)
    logged = [event["loss"] for event in directory.events() if "loss" in event]
    curve = scalars(directory.tensorboard)
    assert [step for step, _ in curve] == list(range(1, 10))
    assert [value for _, value in curve] == pytest.approx(logged)
    stages = (directory.base, directory.warmup, directory.iteration(0), directory.iteration(1))
    for name in ("log_likelihood/token", "accuracy/greedy"):
        measured = [read_json(stage.evaluation)[name]["mean"] for stage in stages]
        held_out = scalars(directory.tensorboard, f"eval/{name}")
        assert [step for step, _ in held_out] == [0, 3, 6, 9]
        assert [value for _, value in held_out] == pytest.approx(measured)
    assert {path.parent for path in directory.path.rglob("*tfevents*")} == {directory.tensorboard}
    # What is trained again goes on at its place.
    for name in ("model", "evaluation.json"):
        (directory.iteration(1).path / name).rename(tmp_path / name)
    resume(directory.path)
    assert [step for step, _ in scalars(directory.tensorboard)] == [*range(1, 10), 7, 8, 9]
