"""What `sparring launch` refuses before a process is started, and what it makes of how they ended."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import typer
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from sparring.cli import launch
from sparring.errors import RunError

Sparring = Callable[..., tuple[object, str]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(f"data: {{source: arithmetic, limit: 4}}\noutput: {tmp_path / 'run'}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "--processes: by default there is one on each GPU, and none is used here\n  fix: say how many"),
        (["--processes", 2, "--sharded"], "--sharded: accelerate shards on GPUs alone, and none is used here"),
        (["--processes", 2, "generation.name=vllm"], "the generator 'vllm' takes its weights from one process"),
        (["--processes", 1, "--nodes", 2, "generation.name=vllm"], "the generator 'vllm' takes its weights from one"),
        (["--processes", 2, "objective=spin"], "write objective.name=spin"),
        (["--processes", 2, "--output", "x"], "--output: is a setting, and no option\n  fix: write output=x"),
        (["--processes", 1, "--nodes", 2], "--main-address: is missing, where several nodes play"),
        (["--processes", 1, "--nodes", 2, "--main-address", "node0"], "is HOST:PORT, got 'node0'"),
        (["--processes", 1, "--nodes", 2, "--node-rank", 2], "--node-rank: there are 2 nodes, counted from 0"),
    ],
)
def test_what_cannot_play_is_told_at_once(sparring: Sparring, config: Path, given: list[object], told: str) -> None:
    code, said = sparring("launch", config, *given)
    assert code == 2
    assert told in said


def test_more_processes_than_gpus_are_refused_unless_none_is_used(
    sparring: Sparring, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    code, said = sparring("launch", config, "--processes", 3)
    assert code == 2
    assert (
        "3 processes need a GPU each, and this machine has 2\n  fix: start at most 2, or set model.device=cpu" in said
    )
    code, said = sparring("launch", config, "--processes", 3, "model.device=cpu", "generation.name=vllm")
    assert "the generator 'vllm' takes its weights from one process" in said


def test_a_port_that_is_in_use_is_named(sparring: Sparring, config: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = sparring("launch", config, "--processes", 1, "--nodes", 2, "--main-address", f"127.0.0.1:{port}")
    assert code == 2
    assert f"--main-address: port {port} is in use on this machine" in said


def test_a_run_is_continued_with_its_own_settings(sparring: Sparring, played: Path) -> None:
    code, said = sparring("launch", played, "seed=1", "--processes", 2)
    assert code == 2
    assert "a run is continued with its own settings\n  fix: leave out seed=1" in said


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        # The first was killed; the second lost it, and the third was stopped by the launcher.
        ([1, -signal.SIGKILL, -signal.SIGTERM], "process 1 was ended by SIGKILL, as happens where memory runs out"),
        ([-signal.SIGTERM, 2, 143], 2),
        ([-signal.SIGTERM, 143], 143),
        ([-signal.SIGSEGV], "process 0 was ended by SIGSEGV; what is finished is on disk"),
    ],
)
def test_it_ends_as_the_process_that_failed(
    monkeypatch: pytest.MonkeyPatch, codes: list[int], expected: int | str
) -> None:
    failures = {rank: ProcessFailure(rank, 1, code, "") for rank, code in enumerate(codes)}

    def fail(_: object) -> None:
        raise ChildFailedError("sparring", failures)

    monkeypatch.setattr(launch, "accelerate_launch", fail)
    monkeypatch.setattr(launch.logging, "disable", lambda _: None)
    with pytest.raises((typer.Exit, RunError)) as ended:
        launch._start(["--module", "sparring"], launch.Nodes())
    if isinstance(expected, int):
        assert ended.value.exit_code == expected
    else:
        assert expected in str(ended.value)
