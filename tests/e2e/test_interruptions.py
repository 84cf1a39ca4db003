"""A run that is asked to end says how to go on, keeps what it trained, and ends with the bits of one that was not."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from e2e.bits import contents
from e2e.command import Cli
from sparring.run_directory import RunDirectory

COMPUTE_LOSS = "sparring.trainer.trainer:SelfPlayTrainer.compute_loss"
WRITE_SHARD = "sparring.work.fill:write_shard"
# Steps are logged in threes and saved after all: a stop falls between two logs.
SPARSE = {
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 2,
    "num_train_epochs": 2,
    "save_steps": 100,
    "logging_steps": 3,
}


def summaries(run: Path) -> list[tuple[object, ...]]:
    """What was logged of every step, without times and rates."""
    return [
        tuple((name, value) for name, value in sorted(event.items()) if not name.endswith(("runtime", "second")))
        for event in RunDirectory(run).events()
        if "step" in event
    ]


def test_stopped_in_every_stage_it_ends_with_the_same_bits_and_logs(
    cli: Cli, tiny_config: Callable[..., Path], tmp_path: Path
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    config = tiny_config(training=SPARSE)
    assert cli("train", config, f"output={whole}").returncode == 0

    command: tuple[object, ...] = ("train", config, f"output={stopped}")
    for at, by, left in (
        ((WRITE_SHARD, 2), signal.SIGINT, "base/held_out"),
        # The fifth step of the warm-up, and the seventh, 2 steps after the resume, and one of the second epoch.
        ((COMPUTE_LOSS, 5), signal.SIGTERM, "warmup/training/checkpoint-5"),
        ((COMPUTE_LOSS, 2), signal.SIGINT, "warmup/training/checkpoint-7"),
        ((WRITE_SHARD, 10), signal.SIGTERM, "iterations/000/samples/policy-0-sampled-00000.parquet"),
        ((COMPUTE_LOSS, 7), signal.SIGHUP, "iterations/000/training/checkpoint-7"),
    ):
        done = cli(*command, kill_at=at, by=by)
        assert done.returncode == 128 + by, done.stderr
        assert (stopped / left).exists()
        assert f"stopped by {by.name}: nothing finished is lost; go on with `sparring resume {stopped}`" in done.stderr
        assert "Traceback" not in done.stderr
        command = ("resume", stopped)
    done = cli(*command)
    assert done.returncode == 0, done.stderr
    assert contents(stopped) == contents(whole)
    assert summaries(stopped) == summaries(whole)
    assert (stopped / "stability.json").read_text() == (whole / "stability.json").read_text()
    losses = [dict(event)["train_loss"] for event in summaries(whole) if "train_loss" in dict(event)]
    assert len(losses) == 3


def test_stopped_at_the_last_step_training_ends_as_any_other(
    cli: Cli, tiny_config: Callable[..., Path], tmp_path: Path
) -> None:
    config = tiny_config(iterations=1, warmup=None, training=SPARSE)
    done = cli("train", config, kill_at=(COMPUTE_LOSS, 12), by=signal.SIGTERM)
    assert done.returncode == 143
    assert (tmp_path / "run" / "iterations" / "000" / "training" / "checkpoint-12").exists()
    assert cli("resume", tmp_path / "run").returncode == 0


def test_stopped_before_it_started_it_says_to_run_the_same_command(
    cli: Cli, tiny_config: Callable[..., Path], tmp_path: Path
) -> None:
    done = cli("train", tiny_config(), kill_at=("sparring.selfplay.set_up:check_log_probs", 1), by=signal.SIGTERM)
    assert done.returncode == 143
    assert "stopped by SIGTERM: the run had not started; go on with the same command" in done.stderr
    assert not (tmp_path / "run" / "config.yaml").exists()
