"""A run that is killed, again and again, ends with the very bits of one that was not."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pyarrow import parquet
from transformers import AutoModelForCausalLM

from e2e.bits import contents
from sparring.logprobs import sequence_log_probs
from sparring.run_directory import RunDirectory
from tiny import tiny_model, tiny_tokenizer

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


@pytest.mark.parametrize("policy", ["previous", pytest.param("base", marks=pytest.mark.slow)])
def test_a_distilled_run_that_is_killed_ends_with_the_same_bits(
    cli: Callable[..., subprocess.CompletedProcess[str]],
    tiny_config: Callable[..., Path],
    tmp_path: Path,
    policy: str,
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    config = tiny_config(
        objective={"name": "distill"},
        scorer={"policy": policy, "candidates": 8},
        warmup=None,
        lora={"r": 2} if policy == "base" else None,
    )
    done = cli("train", config, f"output={whole}")
    assert done.returncode == 0, done.stderr
    command: tuple[object, ...] = ("train", config, f"output={killed}")
    who, stage = {"previous": "policy-0", "base": "base"}[policy], killed / "iterations" / "000"
    first, second = (stage / "scores" / f"policy-0-sampled-0000{number}-next-tokens-{who}.parquet" for number in (0, 1))
    for kill_at, present, absent in (
        # Five shards are of the base model's evaluation and three of samples; then come those of next tokens.
        (("sparring.work.fill:write_shard", 10), first, second),
        (("sparring.selfplay.stages.next_tokens:_row", 4), first, second),
        (("sparring.trainer.trainer:SelfPlayTrainer.compute_loss", 5), stage / "training", stage / "model"),
    ):
        done = cli(*command, kill_at=kill_at)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert present.exists()
        assert not absent.exists()
        command = ("resume", killed)
    done = cli(*command)
    assert done.returncode == 0, done.stderr
    expected = contents(whole)
    assert contents(killed) == expected
    assert any("next-tokens" in str(name) for name in expected)


@pytest.mark.parametrize("quantization", ["nf4", pytest.param("int8", marks=pytest.mark.slow)])
def test_killed_on_a_quantised_base_it_ends_with_the_same_bits(
    cli: Callable[..., subprocess.CompletedProcess[str]],
    tiny_config: Callable[..., Path],
    tmp_path: Path,
    quantization: str,
) -> None:
    """Sampled and evaluated, then trained, and the other way round: neither leaves a trace in the weights."""
    tiny_model(hidden_size=128, intermediate_size=256).save_pretrained(tmp_path / "wide")
    tiny_tokenizer().save_pretrained(tmp_path / "wide")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    config = tiny_config(model={"name": str(tmp_path / "wide"), "quantization": quantization}, lora={"r": 4})
    done = cli("train", config, f"output={whole}")
    assert done.returncode == 0, done.stderr
    assert "kernels-community" not in done.stderr + done.stdout
    command: tuple[object, ...] = ("train", config, f"output={killed}")
    for stage in ("warming up", "generating", "scoring", "training"):
        assert cli(*command, kill_at=KILLS[stage][0]).returncode == -signal.SIGKILL
        command = ("resume", killed)
    done = cli(*command)
    assert done.returncode == 0, done.stderr
    assert contents(killed) == contents(whole)
    first = [event for event in RunDirectory(whole).events() if event.get("iteration") == 0 and event.get("step") == 1]
    assert first[0]["rewards/expert"] == first[0]["rewards/generated"] == 0.0
    _is_exported_as_it_plays(cli, whole, tmp_path / "mine", quantization)


def _is_exported_as_it_plays(
    cli: Callable[..., subprocess.CompletedProcess[str]], run: Path, to: Path, quantization: str
) -> None:
    done = cli("export", run, to, "--policy", "iterations/000", "--json")
    assert done.returncode == 0, done.stderr
    merged = json.loads(done.stdout)["merged"]
    assert merged["quantization"] == quantization
    assert merged["largest"] < 1e-3
    assert f"as quantised ({quantization}), which were rebuilt in float32" in (to / "README.md").read_text()
    # What policy 1, which iteration 0 trained, said in iteration 1, and its log-probs as the run scored them.
    stage = run / "iterations" / "001"
    said = [row for path in stage.glob("samples/*") for row in parquet.read_table(path).to_pylist()]
    scores = [
        row for path in stage.glob("scores/*-under-policy-1.parquet") for row in parquet.read_table(path).to_pylist()
    ]
    scored = {row["index"]: row["log_prob"] for row in scores if row["sample"] is not None}
    assert len(said) == len(scored) == 12
    model = AutoModelForCausalLM.from_pretrained(to).eval()
    with torch.no_grad():
        for row in said:
            (found,) = sequence_log_probs(model, [row["prompt_ids"]], [[row["response_ids"]]])
            assert float(found[0]) == pytest.approx(scored[row["index"]], abs=2e-3)


@pytest.mark.parametrize("lora", [None, pytest.param({"r": 2}, marks=pytest.mark.slow)], ids=["full", "lora"])
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
    died = cli("train", config, f"output={killed}", kill_at=("sparring.selfplay.stages.verdicts:write_shard", 3))
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


def test_killed_while_a_reward_is_learnt_it_ends_with_the_same_bits(
    cli: Callable[..., object], tiny_config: Callable[..., Path], tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    config = tiny_config(
        iterations=1,
        warmup=None,
        objective={"name": "sppo"},
        judge={"name": "discriminator", "folds": 2},
        generation={"samples_per_prompt": 2, "batch_size": 8},
    )
    assert cli("train", config, f"output={whole}").returncode == 0
    rewards = {path.name for path in (whole / "iterations" / "000" / "rewards").iterdir()}
    shards = len([name for name in rewards if not name.endswith("-features.parquet")])
    # Between two shards of rewards, all from the same heads.
    died = cli("train", config, f"output={killed}", kill_at=("sparring.selfplay.stages.reward:write_shard", 2))
    assert died.returncode == -signal.SIGKILL
    written = {path.name for path in (killed / "iterations" / "000" / "rewards").iterdir()}
    assert written < rewards
    assert shards > 1
    assert cli("resume", killed).returncode == 0
    assert contents(killed) == contents(whole)


def test_same_config_and_seed_give_the_same_bits(
    cli: Callable[..., object], tiny_config: Callable[..., Path], tmp_path: Path
) -> None:
    config = tiny_config(iterations=1)
    for name in ("first", "second"):
        assert cli("train", config, f"output={tmp_path / name}").returncode == 0
    assert contents(tmp_path / "first") == contents(tmp_path / "second")
    assert cli("train", config, f"output={tmp_path / 'other'}", "seed=4").returncode == 0
    assert contents(tmp_path / "first") != contents(tmp_path / "other")


@pytest.mark.parametrize("lora", [None, pytest.param({"r": 2}, marks=pytest.mark.slow)], ids=["full", "lora"])
def test_killed_on_the_way_to_a_plateau_it_ends_with_the_same_bits(
    cli: Callable[..., object], tiny_config: Callable[..., Path], tmp_path: Path, lora: object
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    # The rate is so high that the likelihood goes up and down; a crash may cost two epochs.
    training = {"learning_rate": 3e-2, "num_train_epochs": 12, "save_steps": 10}
    config = tiny_config(lora=lora, iterations=1, warmup={"until": "plateau", "training": training})
    assert cli("train", config, f"output={whole}").returncode == 0
    looks = [event["step"] for event in RunDirectory(whole).events() if "eval_log_likelihood/token" in event]
    assert looks[:2] == [0, 5]
    assert len(looks) >= 4
    command: tuple[object, ...] = ("train", config, f"output={killed}")
    look, step = "sparring.trainer.plateau:per_token_log_probs", "sparring.trainer.trainer:SelfPlayTrainer.compute_loss"
    # Before the first checkpoint, at a look that is not saved yet, between two looks, when the end is known.
    for kill_at in ((step, 3), (look, 3), (step, 8), ("sparring.selfplay.stages.train:_leave_training", 1)):
        assert cli(*command, kill_at=kill_at).returncode == -signal.SIGKILL, kill_at
        assert not (killed / "warmup" / "model").exists()
        command = ("resume", killed)
    done = cli(*command)
    assert done.returncode == 0, done.stderr
    assert contents(killed) == contents(whole)
    again = [event for event in RunDirectory(killed).events() if "eval_log_likelihood/token" in event]
    assert [event["step"] for event in again] == looks
