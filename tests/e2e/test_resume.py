"""A run that is killed, again and again, ends with the very bits of one that was not."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import parquet
from safetensors.torch import load_file

from sparring.run_directory import RunDirectory

# Where a process dies, what must be there then and what must not be.
KILLS: dict[str, tuple[tuple[str, int], str, str]] = {
    "evaluating the base": (
        ("sparring.work.fill:write_shard", 2),
        "base/held_out",
        "base/evaluation.json",
    ),
    "warming up": (("sparring.trainer.trainer:SelfPlayTrainer.compute_loss", 8), "warmup/training", "warmup/model"),
    "writing a checkpoint": (
        ("transformers.trainer_callback:TrainerState.save_to_json", 1),
        "warmup/training/checkpoint-8/optimizer.pt",
        "warmup/training/checkpoint-8/trainer_state.json",
    ),
    "saving the warm-up": (("sparring.files:_sync_folder", 1), "warmup", "warmup/evaluation.json"),
    "generating": (
        ("sparring.work.fill:write_shard", 10),
        "iterations/000/samples/policy-0-sampled-00000.parquet",
        "iterations/000/samples/policy-0-sampled-00002.parquet",
    ),
    "scoring": (
        ("sparring.work.fill:write_shard", 3),
        "iterations/000/scores/policy-0-sampled-00000-under-policy-0.parquet",
        "iterations/000/scores/policy-0-sampled-00001-under-policy-0.parquet",
    ),
    "training": (
        ("sparring.trainer.trainer:SelfPlayTrainer.compute_loss", 6),
        "iterations/000/training/checkpoint-4",
        "iterations/000/model",
    ),
    "evaluating": (
        ("sparring.selfplay.stages.evaluate:write_json", 1),
        "iterations/000/model",
        "iterations/000/evaluation.json",
    ),
}


def weights_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        for name, tensor in sorted(load_file(file).items()):
            digest.update(name.encode())
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def contents(run: Path) -> dict[str, object]:
    """All that a run computed: samples, scores, weights and evaluations, by path."""
    found: dict[str, object] = {}
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        if path.suffix == ".parquet":
            found[name] = parquet.read_table(path).to_pylist()
        elif path.name == "model":
            found[name] = weights_digest(path)
        elif path.name == "evaluation.json":
            found[name] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("lora", [None, {"r": 2}], ids=["full", "lora"])
def test_killed_run_ends_with_the_same_bits(
    cli: Callable[..., object], tiny_config: Callable[..., Path], tmp_path: Path, lora: object
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    config = tiny_config(lora=lora)
    assert cli("train", config, f"output={whole}").returncode == 0

    command: tuple[object, ...] = ("train", config, f"output={killed}")
    for stage, (kill_at, present, absent) in KILLS.items():
        done = cli(*command, kill_at=kill_at)
        assert done.returncode == -signal.SIGKILL, f"{stage}: not killed: {done.stderr}"
        assert (killed / present).exists(), f"{stage}: {present} is missing"
        assert not (killed / absent).exists(), f"{stage}: {absent} is there already"
        command = ("resume", killed)
    done = cli(*command)
    assert done.returncode == 0, done.stderr

    expected = contents(whole)
    assert contents(killed) == expected
    assert len([name for name in expected if name.endswith("model")]) == 3
    assert not list(killed.rglob("*.partial"))


@pytest.mark.parametrize("lora", [None, {"r": 2}], ids=["full", "lora"])
def test_killed_while_decoding_a_mixture_it_ends_with_the_same_bits(
    cli: Callable[..., object], tiny_config: Callable[..., Path], tmp_path: Path, lora: object
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    config = tiny_config(lora=lora, iterations=1, opponent={"name": "geometric-mixture", "samples": "mixture"})
    assert cli("train", config, f"output={whole}").returncode == 0
    # The base and the warm-up have written twelve held-out files; this is the second of three of the mixture's.
    died = cli("train", config, f"output={killed}", kill_at=("sparring.work.fill:write_shard", 14))
    assert died.returncode == -signal.SIGKILL
    written = (killed / "iterations" / "000" / "samples").iterdir()
    assert [path.name for path in written] == ["policy-0-mixture-00000.parquet"]
    assert cli("resume", killed).returncode == 0
    assert contents(killed) == contents(whole)
    assert (whole / "warmup" / "held_out" / "mixture-00000.parquet").exists()


def test_killed_while_a_teacher_writes_it_ends_with_the_same_bits(
    cli: Callable[..., object], tiny_config: Callable[..., Path], tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    teacher = {"system": "Hm.", "temperature": 0.8}
    data = {"source": "arithmetic", "limit": 8, "held_out": 4, "max_response_tokens": 8, "teacher": teacher}
    config = tiny_config(iterations=1, warmup=None, data=data)
    assert cli("train", config, f"output={whole}").returncode == 0
    died = cli("train", config, f"output={killed}", kill_at=("sparring.work.fill:write_shard", 2))
    assert died.returncode == -signal.SIGKILL
    assert [path.name for path in (killed / "teacher" / "samples").iterdir()] == ["train-00000.parquet"]
    assert cli("resume", killed).returncode == 0
    assert contents(killed) == contents(whole)
    assert (killed / "stability.json").read_text() == (whole / "stability.json").read_text()


def test_killed_while_judging_and_training_in_the_second_phase_it_ends_with_the_same_bits(
    cli: Callable[..., object], tiny_config: Callable[..., Path], tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    judged = {
        "objective": {"name": "sppo"},
        "judge": {"name": "verifier", "rule": "final-number"},
        "generation": {"samples_per_prompt": 2, "batch_size": 8},
        "training": {"learning_rate": 5e-4},
    }
    config = tiny_config(iterations=1, warmup=None, phases=[{"objective": {"name": "spin"}}, judged])
    assert cli("train", config, f"output={whole}").returncode == 0
    # After the first policy was compared with the base model, and one shard of samples.
    died = cli("train", config, f"output={killed}", kill_at=("sparring.selfplay.stages.judge:write_shard", 3))
    assert died.returncode == -signal.SIGKILL
    written = (killed / "iterations" / "001" / "judgements").iterdir()
    assert [path.name for path in written] == ["policy-1-sampled-00000.parquet"]
    died = cli("resume", killed, kill_at=("sparring.trainer.trainer:SelfPlayTrainer.compute_loss", 4))
    assert died.returncode == -signal.SIGKILL
    assert (killed / "iterations" / "001" / "training" / "checkpoint-2").exists()
    assert cli("resume", killed).returncode == 0
    assert contents(killed) == contents(whole)
    assert len(list((whole / "iterations" / "001" / "judgements").iterdir())) == 3
    assert not (whole / "iterations" / "000" / "judgements").exists()
    measured = json.loads((whole / "iterations" / "001" / "evaluation.json").read_text())
    assert {"win_rate/base", "win_rate/previous"} <= measured.keys()
    labels = {(event["iteration"], event["phase"]) for event in RunDirectory(whole).events() if "iteration" in event}
    assert labels == {(0, 0), (1, 1)}


def test_same_config_and_seed_give_the_same_bits(
    cli: Callable[..., object], tiny_config: Callable[..., Path], tmp_path: Path
) -> None:
    config = tiny_config(iterations=1)
    for name in ("first", "second"):
        assert cli("train", config, f"output={tmp_path / name}").returncode == 0
    assert contents(tmp_path / "first") == contents(tmp_path / "second")
    assert cli("train", config, f"output={tmp_path / 'other'}", "seed=4").returncode == 0
    assert contents(tmp_path / "first") != contents(tmp_path / "other")
