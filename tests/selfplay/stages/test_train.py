"""Checkpoints that a kill may have cut, and what the loop listens to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from sparring.selfplay.stages.train import last_checkpoint
from sparring.trainer.callbacks import StageCallback


def checkpoint(folder: Path, step: int, state: str | None = '{"global_step": 1}') -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights")
    if state is not None:
        (path / "trainer_state.json").write_text(state)
    return path


def test_the_newest_checkpoint_is_taken_by_number(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        checkpoint(tmp_path, step)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-100"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("torn", [None, "", '{"global_step"'])
def test_a_torn_checkpoint_is_skipped_and_removed(tmp_path: Path, torn: str | None) -> None:
    checkpoint(tmp_path, 5)
    whole = checkpoint(tmp_path, 10)
    checkpoint(tmp_path, 15, torn)
    checkpoint(tmp_path, 20, torn)
    assert last_checkpoint(tmp_path) == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-5"]


def test_no_whole_checkpoint_means_from_the_start(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path / "absent") is None
    checkpoint(tmp_path, 5, None)
    assert last_checkpoint(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def parts(tmp_path: Path) -> tuple[TrainingArguments, TrainerState, TrainerControl]:
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    return args, TrainerState(global_step=3, max_steps=5), TrainerControl()


def test_log_events_carry_their_step(parts: Any) -> None:
    events: list[dict[str, Any]] = []
    StageCallback("", lambda logs: events.append(dict(logs))).on_log(*parts, logs={"loss": 0.5})
    assert events == [{"step": 3, "loss": 0.5}]


def test_progress_goes_on_where_a_resumed_run_stands(parts: Any, capsys: pytest.CaptureFixture[str]) -> None:
    bar = StageCallback("iteration 0: train", lambda _: None)
    bar.on_train_begin(*parts)
    for _ in range(2):
        bar.on_log(*parts, logs={"loss": 0.25, "rewards/margins": 1.5})
        bar.on_step_end(*parts)
    bar.on_train_end(*parts)
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.split() == ["iteration", "0:", "train:", "5/5", "loss", "0.25", "margins", "1.5"]
