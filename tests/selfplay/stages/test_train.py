"""What the loop hears of a training, and what a training leaves behind."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerControl, TrainerState, TrainingArguments

from a_run import a_config
from sparring.integrity import seal
from sparring.selfplay.loop import run
from sparring.selfplay.policy import Policy
from sparring.selfplay.stages import checkpoints
from sparring.trainer.callbacks import StageCallback
from sparring.trainer.trainer import SelfPlayTrainer
from tiny import tiny_model, tiny_tokenizer


@pytest.fixture
def parts(tmp_path: Path) -> tuple[TrainingArguments, TrainerState, TrainerControl]:
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    return args, TrainerState(global_step=3, max_steps=5), TrainerControl()


def test_log_events_carry_their_step(parts: Any) -> None:
    events: list[dict[str, Any]] = []
    StageCallback("", lambda logs: events.append(dict(logs))).on_log(*parts, logs={"loss": 0.5})
    assert events == [{"step": 3, "loss": 0.5}]


def test_progress_goes_on_where_a_resumed_run_stands(parts: Any, capsys: pytest.CaptureFixture[str]) -> None:
    args, state, control = parts
    bar = StageCallback("iteration 0: train", lambda _: None)
    bar.on_train_begin(*parts)
    for state.global_step in (4, 5):
        bar.on_step_end(args, state, control)
        bar.on_log(*parts, logs={"loss": 0.25, "rewards/margins": 1.5})
    bar.close()
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.split() == ["iteration", "0:", "train:", "5/5", "loss", "0.25", "margins", "1.5", "in", "0", "s"]


@pytest.mark.parametrize("every", [1, 2])
def test_every_line_of_progress_says_of_which_step_its_values_are(
    every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sparring.progress._LINE_EVERY_S", -1.0)
    events: list[dict[str, Any]] = []
    bar = StageCallback("train", lambda logs: events.append(dict(logs)))
    args = TrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        max_steps=4,
        logging_steps=every,
        per_device_train_batch_size=1,
        save_strategy="no",
    )
    SelfPlayTrainer(
        tiny_model(),
        "dpo",
        args,
        processing_class=tiny_tokenizer(),
        train_dataset=[{"prompt": "1?", "chosen": "a", "rejected": "b"}] * 4,
        callbacks=[bar],
    ).train()
    bar.close()
    losses = {event["step"]: f"loss {event['loss']:.3g}" for event in events if "loss" in event}
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train: ")]
    told = {line.split()[1]: line for line in lines}
    assert list(told) == ["0/4", "1/4", "2/4", "3/4", "4/4"]
    if every == 1:
        assert all(losses[step] in told[f"{step}/4"] and "(step" not in told[f"{step}/4"] for step in (1, 2, 3, 4))
        return
    assert "loss" not in told["1/4"]
    assert [(losses[2] in told[f"{step}/4"], "(step 2)" in told[f"{step}/4"]) for step in (2, 3)] == [
        (True, False),
        (True, True),
    ]
    assert losses[4] in told["4/4"]
    assert "(step" not in told["4/4"]


def test_neither_gradients_nor_optimizer_are_left_when_a_policy_is_saved(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all weights trained they are three times as large as these; what comes next, evaluation, needs the room."""
    left: list[tuple[int, int]] = []
    save = Policy.save

    def counting(policy: Policy, folder: Path, *, log_lines: int = 0) -> None:
        gradients = sum(weight.grad is not None for weight in policy.model.parameters())
        optimizers = sum(issubclass(type(each), torch.optim.Optimizer) for each in gc.get_objects())
        left.append((gradients, optimizers - before))
        save(policy, folder, log_lines=log_lines)

    data = {"source": "arithmetic", "limit": 3, "held_out": 0, "max_response_tokens": 4}
    gc.collect()
    before = sum(issubclass(type(each), torch.optim.Optimizer) for each in gc.get_objects())
    monkeypatch.setattr(Policy, "save", counting)
    run(a_config(tiny_folder, tmp_path / "run", data=data, iterations=2))
    assert left == [(0, 0), (0, 0)]


def test_a_training_saves_itself_as_time_passes(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {"source": "arithmetic", "limit": 6, "held_out": 0, "max_response_tokens": 4}
    training = {"learning_rate": 1e-3, "per_device_train_batch_size": 2}
    sealed: list[str] = []

    def sealing(folder: Path, *, log_lines: int) -> None:
        sealed.append(folder.name)
        seal(folder, log_lines=log_lines)

    monkeypatch.setattr(checkpoints, "seal", sealing)
    # A minute is longer than this training.
    run(a_config(tiny_folder, tmp_path / "short", data=data, training=training, iterations=1))
    assert sealed == []
    monkeypatch.setattr(checkpoints, "_EVERY_S", 0.0)
    monkeypatch.setattr(checkpoints, "_TIMES", 0.0)
    run(a_config(tiny_folder, tmp_path / "long", data=data, training=training, iterations=1))
    # None at the last step, whose policy follows.
    assert sealed == ["checkpoint-1", "checkpoint-2"]
    models = [tmp_path / name / "iterations" / "000" / "model" / "model.safetensors" for name in ("short", "long")]
    assert models[0].read_bytes() == models[1].read_bytes()
