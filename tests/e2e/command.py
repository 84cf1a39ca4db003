"""The command line in processes of its own, and a run of it that takes seconds."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import yaml

from e2e.child import PRELOADED, play

Cli = Callable[..., subprocess.CompletedProcess[str]]


def command_line(output: Path, *, within_s: float = 120) -> Cli:
    """`cli(*arguments, kill_at=("module:function", n))` runs `sparring ARGUMENTS` and returns how it ended.

    `by` is the signal that it is sent there; `disk_full_at` lets that call fail for want of space instead;
    `environment` is added to; no file may grow beyond `largest_file` bytes. Every call is a new process, forked from a
    server that has imported the heavy libraries and computed nothing; what it prints goes through files in the folder
    `output`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))

    def run(
        *arguments: object,
        kill_at: tuple[str, int] | None = None,
        disk_full_at: tuple[str, int] | None = None,
        environment: dict[str, str] | None = None,
        largest_file: int | None = None,
        by: int = signal.SIGKILL,
    ) -> subprocess.CompletedProcess[str]:
        command = [str(argument) for argument in arguments]
        out, err = output / "stdout", output / "stderr"
        process = context.Process(
            target=play,
            args=(command, kill_at, disk_full_at, str(out), str(err), environment or {}),
            kwargs={"largest_file": largest_file, "by": by},
        )
        process.start()
        process.join(timeout=within_s)
        if process.exitcode is None:
            process.kill()
            raise AssertionError(f"sparring {' '.join(command)} did not end within {within_s:g} s")
        return subprocess.CompletedProcess(command, process.exitcode, out.read_text(), err.read_text())

    return run


def write_tiny_config(path: Path, model: Path, /, **changes: object) -> Path:
    """Writes a configuration that plays two iterations on a tiny model in seconds, with top-level changes.

    The run is the folder `run` beside it.
    """
    config = {
        "output": str(path.parent / "run"),
        "seed": 3,
        "iterations": 2,
        "model": {"name": str(model)},
        "data": {"source": "arithmetic", "limit": 12, "held_out": 4, "max_response_tokens": 24},
        "objective": {"name": "spif"},
        "generation": {"batch_size": 4},
        "warmup": {"training": {"num_train_epochs": 2}},
        "training": {"learning_rate": 1e-3, "per_device_train_batch_size": 2, "save_steps": 2},
        # Every run makes its own samples, so that it is known where it is killed.
        "reuse": False,
    }
    path.write_text(yaml.safe_dump(config | changes), encoding="utf-8")
    return path
