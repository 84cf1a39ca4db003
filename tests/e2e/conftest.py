"""The command line as a person runs it: in a process of its own, that can be killed."""

from __future__ import annotations

import multiprocessing
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from e2e.child import PRELOADED, play

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """`cli(*arguments, kill_at=("module:function", n))` runs `sparring ARGUMENTS` and returns how it ended.

    `disk_full_at` lets that call fail for want of space instead; `environment` is added to. Every call is a new
    process, forked from a server that has imported the heavy libraries and computed nothing.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    folder = tmp_path_factory.mktemp("output")

    def run(
        *arguments: object,
        kill_at: tuple[str, int] | None = None,
        disk_full_at: tuple[str, int] | None = None,
        environment: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        command = [str(argument) for argument in arguments]
        out, err = folder / "stdout", folder / "stderr"
        process = context.Process(
            target=play, args=(command, kill_at, disk_full_at, str(out), str(err), environment or {})
        )
        process.start()
        process.join(timeout=120)
        assert process.exitcode is not None, f"sparring {' '.join(command)} did not end"
        return subprocess.CompletedProcess(command, process.exitcode, out.read_text(), err.read_text())

    return run


@pytest.fixture
def tiny_config(tiny_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a configuration that plays two iterations on the tiny model in seconds, with top-level changes."""

    def write(**changes: object) -> Path:
        config = {
            "output": str(tmp_path / "run"),
            "seed": 3,
            "iterations": 2,
            "model": {"name": str(tiny_folder)},
            "data": {"source": "arithmetic", "limit": 12, "held_out": 4, "max_response_tokens": 24},
            "objective": {"name": "spif"},
            "generation": {"batch_size": 4},
            "warmup": {"training": {"num_train_epochs": 2}},
            "training": {"learning_rate": 1e-3, "per_device_train_batch_size": 2, "save_steps": 2},
            # Every run makes its own samples, so that it is known where it is killed.
            "reuse": False,
        }
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(config | changes), encoding="utf-8")
        return path

    return write
