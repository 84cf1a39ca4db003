"""A training goes on from its newest whole checkpoint, and from no pickle that it did not write."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from torch.distributed import checkpoint as distributed
from transformers import TrainerControl, TrainerState, TrainingArguments

from sparring.integrity import DIGESTS, seal
from sparring.selfplay.stages.checkpoints import Checkpoints, last_checkpoint


def checkpoint(folder: Path, step: int, *, whole: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"):
        (path / name).write_bytes(name.encode())
    if whole:
        seal(path, log_lines=0)
    return path


def test_the_newest_checkpoint_is_taken_by_number(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        checkpoint(tmp_path, step)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-100"
    assert len(list(tmp_path.iterdir())) == 3


def test_one_that_a_kill_cut_is_removed_without_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint(tmp_path, 5)
    whole = checkpoint(tmp_path, 10)
    for step in (15, 20):
        checkpoint(tmp_path, step, whole=False)
    assert last_checkpoint(tmp_path) == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-5"]
    assert not capsys.readouterr().err


def test_no_whole_checkpoint_means_from_the_start(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path / "absent") is None
    checkpoint(tmp_path, 5, whole=False)
    assert last_checkpoint(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", DIGESTS])
@pytest.mark.parametrize("way", ["flipped", "emptied", "removed"])
def test_a_damaged_one_is_named_and_the_one_before_is_taken(
    tmp_path: Path, name: str, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, damaged = checkpoint(tmp_path, 5), checkpoint(tmp_path, 10)
    file = damaged / name
    if way == "removed":
        file.unlink()
    else:
        file.write_bytes(b"" if way == "emptied" else bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])
    assert last_checkpoint(tmp_path) == whole
    assert not damaged.exists()
    said = capsys.readouterr().err.replace("\n", "")
    assert (name in said) == (way != "removed" or name != DIGESTS)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "adapter_model.bin"])
def test_pickled_weights_are_not_read(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = checkpoint(tmp_path, 5, whole=False)
    (path / name).write_bytes(b"anything")
    seal(path, log_lines=0)
    assert last_checkpoint(tmp_path) is None
    assert name in capsys.readouterr().err.replace("\n", "")


class Trap:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_the_table_of_contents_of_shards_may_run_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = checkpoint(tmp_path, 5, whole=False)
    model = torch.nn.Linear(2, 2).to(torch.bfloat16)
    distributed.save(
        {"model": model.state_dict(), "step": 3}, checkpoint_id=path / "pytorch_model_fsdp_0", no_dist=True
    )
    seal(path, log_lines=0)
    assert last_checkpoint(tmp_path) == path
    bad = checkpoint(tmp_path, 6, whole=False)
    (bad / ".metadata").write_bytes(pickle.dumps(Trap(tmp_path / "ran")))
    seal(bad, log_lines=0)
    assert last_checkpoint(tmp_path) == path
    assert not (tmp_path / "ran").exists()
    assert "it names posix.mkdir" in " ".join(capsys.readouterr().err.split())


def test_an_older_one_goes_only_when_the_new_one_is_whole(tmp_path: Path) -> None:
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    for step in (2, 4, 6):
        checkpoint(tmp_path, step, whole=step < 6)
    state = TrainerState(global_step=6, is_world_process_zero=True)
    Checkpoints(2, lambda: 7, by_the_clock=False).on_save(args, state, TrainerControl())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-4", "checkpoint-6"]
    assert (tmp_path / "checkpoint-6" / DIGESTS).exists()
    Checkpoints(None, lambda: 7, by_the_clock=False).on_save(args, state, TrainerControl())
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("takes", "by_the_clock", "steps"),
    [
        # Steps of 25 s: a minute is over with the third, and then again.
        (1.0, True, [3, 6, 9]),
        # Twenty times 8 s is 160 s, which begin when the checkpoint is there.
        (8.0, True, [3, 10]),
        (1.0, False, []),
    ],
)
def test_as_time_passes_one_is_written_a_minute_after_the_last_and_at_most_a_twentieth_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, takes: float, by_the_clock: bool, steps: list[int]
) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    callback, written = Checkpoints(None, lambda: 0, by_the_clock=by_the_clock), []
    for step in range(1, 12):
        clock[0] += 25.0
        state, control = TrainerState(global_step=step, max_steps=11, is_world_process_zero=True), TrainerControl()
        callback.on_step_end(args, state, control)
        if control.should_save:
            checkpoint(tmp_path, step, whole=False)
            clock[0] += takes
            callback.on_save(args, state, control)
            written.append(step)
    assert written == steps
