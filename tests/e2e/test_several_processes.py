"""Two processes that play one run end where one process ends that takes their batches at once."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from pyarrow import parquet
from safetensors.torch import load_file

from e2e.child import PRELOADED
from e2e.several import FSDP2, play_together
from sparring import recipes

TINY: dict[str, object] = {
    "iterations": 1,
    "warmup": None,
    "data": {"source": "arithmetic", "limit": 8, "held_out": 2, "max_response_tokens": 16},
    "training": {"learning_rate": 1e-3, "per_device_train_batch_size": 2, "save_steps": 2, "num_train_epochs": 2},
}
Launch = Callable[..., list[int]]


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    """`launch(*arguments, kill_at={rank: (function, n)})` runs two processes; when one ends badly, so do all."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))

    def run(
        *arguments: object,
        environment: dict[str, str] | None = None,
        kill_at: dict[int, tuple[str, int]] | None = None,
        by: int = signal.SIGKILL,
    ) -> list[int]:
        port = free_port()
        command = [str(argument) for argument in arguments]
        started = [
            context.Process(
                target=play_together,
                args=(rank, 2, port, command, environment or {}, (kill_at or {}).get(rank), str(tmp_path), by),
            )
            for rank in range(2)
        ]
        for process in started:
            process.start()
        # What a launcher does: when one process fails, it stops the others.
        multiprocessing.connection.wait([process.sentinel for process in started], timeout=100)
        for process in started:
            process.join(timeout=20)
            process.kill()
            process.join()
        return [process.exitcode for process in started]

    return run


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(*command: object, at: Path | None = None) -> subprocess.Popen[str]:
    """`python -P -m COMMAND`, as a person gives it."""
    given = [sys.executable, "-P", "-m", *map(str, command)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(given, stderr=subprocess.PIPE, text=True, env=environment, cwd=at)


def end(command: subprocess.Popen[str]) -> str:
    """What it wrote to stderr until it ended."""
    return command.communicate(timeout=120)[1]


def losses(run: Path) -> list[float]:
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [event["loss"] for event in events if "loss" in event]


def samples(run: Path) -> dict[str, object]:
    return {path.name: parquet.read_table(path).to_pylist() for path in sorted(run.rglob("samples/*.parquet"))}


def furthest(one: Path, other: Path) -> float:
    (file,) = (one / "iterations/000/model").glob("*.safetensors")
    left, right = load_file(file), load_file(other / "iterations/000/model" / file.name)
    assert left.keys() == right.keys()
    return max(float((left[name] - right[name]).abs().max()) for name in left)


COMPUTE_LOSS = "sparring.trainer.trainer:SelfPlayTrainer.compute_loss"
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("environment", "lora", "killed"),
    [
        pytest.param({}, {"r": 2}, (1,), id="ddp with lora"),
        pytest.param(FSDP2, None, (0, 1), id="fsdp2, all weights, both killed"),
        pytest.param({}, None, (0, 1), id="ddp, all weights, both killed", marks=SLOW),
        pytest.param(FSDP2, {"r": 2}, (0, 1), id="fsdp2 with lora, both killed", marks=SLOW),
        pytest.param(FSDP2, {"r": 2}, (0,), id="fsdp2 with lora, the main one killed", marks=SLOW),
        pytest.param(FSDP2 | {"FSDP_RESHARD_AFTER_FORWARD": "false"}, None, (1,), id="fsdp2 as zero-2", marks=SLOW),
    ],
)
def test_two_processes_play_as_one_and_resume_to_the_same_bits(
    cli: Callable[..., object],
    launch: Launch,
    tiny_config: Callable[..., Path],
    tmp_path: Path,
    environment: dict[str, str],
    lora: object,
    killed: tuple[int, ...],
) -> None:
    config = tiny_config(**TINY, lora=lora)
    one, two, resumed = (tmp_path / name for name in ("one", "two", "resumed"))
    assert cli("train", config, f"output={one}", "training.per_device_train_batch_size=4").returncode == 0
    assert launch("train", config, f"output={two}", environment=environment) == [0, 0], errors(tmp_path)
    assert samples(two) == samples(one)
    assert losses(two) == pytest.approx(losses(one), rel=1e-5, abs=1e-5)
    assert furthest(one, two) < 1e-5

    die = dict.fromkeys(killed, (COMPUTE_LOSS, 4))
    codes = launch("train", config, f"output={resumed}", environment=environment, kill_at=die)
    assert {rank for rank, code in enumerate(codes) if code == -signal.SIGKILL} >= set(killed)
    assert 0 not in codes
    assert list((resumed / "iterations/000/training").glob("checkpoint-2/rng_state_1.pth"))
    assert "Traceback" not in errors(tmp_path)
    if len(killed) == 1:
        assert "lost the connection to another process of the launch, which died or was stopped" in errors(tmp_path)

    # One is asked to stop, so all stop after the same step, with one whole checkpoint.
    asked = {1: (COMPUTE_LOSS, 1)}
    assert launch("resume", resumed, environment=environment, kill_at=asked, by=signal.SIGTERM) == [1, 143]
    assert f"another process of the launch was asked to stop; `sparring launch {resumed}` goes on" in errors(tmp_path)
    assert list((resumed / "iterations/000/training").glob("checkpoint-3/rng_state_1.pth"))
    assert launch("resume", resumed, environment=environment) == [0, 0], errors(tmp_path)
    assert furthest(two, resumed) == 0.0


def test_the_command_ends_as_what_it_started(
    cli: Callable[..., subprocess.CompletedProcess[str]], tiny_config: Callable[..., Path], tmp_path: Path
) -> None:
    config = tiny_config(**TINY | {"data": {"source": str(tmp_path / "nothing.jsonl")}})
    done = cli("launch", config, "--processes", 1)
    assert done.returncode == 2
    # Before the first word of a run.
    assert done.stderr.splitlines()[0] == f"sparring: {tmp_path / 'nothing.jsonl'}: there is no such file"
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_command_plays_as_any_launcher_does(
    cli: Callable[..., subprocess.CompletedProcess[str]],
    launch: Launch,
    tiny_config: Callable[..., Path],
    tmp_path: Path,
) -> None:
    config, plain, started = tiny_config(**TINY), tmp_path / "plain", tmp_path / "started"
    assert launch("train", config, f"output={plain}") == [0, 0], errors(tmp_path)
    command = ("launch", config, f"output={started}", "--processes", 2, "--json")
    done = cli(*command, environment={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"] == str(started)
    assert furthest(plain, started) == 0.0
    assert samples(plain) == samples(started)


@pytest.mark.slow
def test_the_command_plays_on_two_nodes_as_accelerate_does_on_one(
    tiny_config: Callable[..., Path], tmp_path: Path
) -> None:
    config, one, two = tiny_config(**TINY), tmp_path / "one", tmp_path / "two"
    settings = Path(recipes.__file__).parent / "accelerate" / "ddp.yaml"
    accelerate = ("accelerate.commands.launch", "--config_file", settings, "--num_processes", 2)
    command = start(*accelerate, "--module", "sparring", "train", config, f"output={one}")
    told = end(command)
    assert command.returncode == 0, told
    nodes = ("--nodes", 2, "--processes", 1, "--main-address", f"127.0.0.1:{free_port()}", "--node-rank")
    # A module of the working directory, which is none of ours, takes no library's place.
    (tmp_path / "datasets.py").write_text("raise SystemExit('not this one')")
    given = ("sparring", "launch", config, f"output={two}", *nodes)
    commands = [start(*given, rank, at=tmp_path) for rank in range(2)]
    told = "\n".join(map(end, commands))
    assert [each.returncode for each in commands] == [0, 0], told
    assert furthest(one, two) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("by", "whom", "code", "told"),
    [
        (signal.SIGINT, "launcher", 130, "stopped by SIGINT: nothing finished is lost; go on with `sparring launch "),
        (signal.SIGKILL, "process", 1, "process 1 was ended by SIGKILL, as happens where memory runs out"),
        (signal.SIGTERM, "process", 143, "stopped by SIGTERM: nothing finished is lost; go on with `sparring launch "),
    ],
)
def test_the_command_ends_as_its_processes_do_and_goes_on(
    tiny_config: Callable[..., Path], tmp_path: Path, by: int, whom: str, code: int, told: str
) -> None:
    run, long = tmp_path / "run", {"max_steps": 60, "save_steps": 10, "per_device_train_batch_size": 2}
    command = start("sparring", "launch", tiny_config(**TINY | {"training": long}), "--processes", "2")
    checkpoint = run / "iterations/000/training/checkpoint-10"
    deadline = time.monotonic() + 90
    while not checkpoint.exists() and command.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    asked = psutil.Process(command.pid)
    (asked if whom == "launcher" else asked.children()[1]).send_signal(by)
    said = end(command)
    # One process is asked to stop by a signal, the other by it; either may be the first to have ended.
    assert command.returncode in {code, 1}, said
    assert told in said
    assert "Traceback" not in said
    again = start("sparring", "launch", run, "--processes", "2")
    said = end(again)
    assert again.returncode == 0, said


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{}, FSDP2], ids=["ddp", "fsdp2"])
def test_two_processes_distil_as_one(
    cli: Callable[..., object],
    launch: Launch,
    tiny_config: Callable[..., Path],
    tmp_path: Path,
    environment: dict[str, str],
) -> None:
    """The backward pass computes the head's logits again, from weights that may be shared out."""
    config = tiny_config(**TINY, objective={"name": "distill"}, scorer={"candidates": 8})
    one, two = tmp_path / "one", tmp_path / "two"
    assert cli("train", config, f"output={one}", "training.per_device_train_batch_size=4").returncode == 0
    assert launch("train", config, f"output={two}", environment=environment) == [0, 0], errors(tmp_path)
    assert losses(two) == pytest.approx(losses(one), rel=1e-5, abs=1e-5)
    assert furthest(one, two) < 1e-5


def test_another_number_of_processes_cannot_resume_a_run(
    cli: Callable[..., object], launch: Launch, tiny_config: Callable[..., Path], tmp_path: Path
) -> None:
    config = tiny_config(**TINY)
    done = cli("train", config, kill_at=(COMPUTE_LOSS, 1))
    assert done.returncode == -signal.SIGKILL
    assert launch("resume", tmp_path / "run") == [2, 2]
    assert "the number of processes changed" in errors(tmp_path)


def errors(folder: Path) -> str:
    return "\n".join(path.read_text()[-2000:] for path in sorted(folder.glob("stderr-*")))
