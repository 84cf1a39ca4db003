"""Two processes that play one run end where one process ends that takes their batches at once."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.connection
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import parquet
from safetensors.torch import load_file

from e2e.child import PRELOADED
from e2e.several import FSDP2, play_together

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
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
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
    assert "another process of the launch was asked to stop; `sparring resume RUN` goes on" in errors(tmp_path)
    assert list((resumed / "iterations/000/training").glob("checkpoint-3/rng_state_1.pth"))
    assert launch("resume", resumed, environment=environment) == [0, 0], errors(tmp_path)
    assert furthest(two, resumed) == 0.0


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
