"""What the loop hears of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from sparring.trainer.callbacks import StageCallback


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
    bar.close()
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.split() == ["iteration", "0:", "train:", "5/5", "loss", "0.25", "margins", "1.5", "in", "0", "s"]
