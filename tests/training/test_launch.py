"""Launches that are refused say what to launch instead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sparring.errors import InputError
from sparring.training.arguments import check_launch, training_arguments

FSDP = {"WORLD_SIZE": "2", "ACCELERATE_USE_FSDP": "true"}
DEEPSPEED = {"ACCELERATE_USE_DEEPSPEED": "true"}
ZERO = "ACCELERATE_DEEPSPEED_"


def refused(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> InputError:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError) as caught:
        check_launch()
    return caught.value


@pytest.mark.parametrize(
    ("environment", "problem", "fix"),
    [
        (FSDP, "FSDP 1 is not supported", "fsdp_version: 2"),
        (
            FSDP | {"FSDP_VERSION": "2", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"},
            "leaves all processes but one without weights",
            "fsdp_cpu_ram_efficient_loading: false",
        ),
        # accelerate's own default is stage 2.
        (DEEPSPEED, "(ZeRO-2)", "fsdp_reshard_after_forward: false, which shares out gradients"),
        (DEEPSPEED | {f"{ZERO}ZERO_STAGE": "0"}, "(ZeRO-0)", "launch with DDP"),
        (DEEPSPEED | {f"{ZERO}ZERO_STAGE": "1"}, "(ZeRO-1)", "fsdp_reshard_after_forward: false"),
        (DEEPSPEED | {f"{ZERO}ZERO_STAGE": "3"}, "(ZeRO-3)", "fsdp_reshard_after_forward: true"),
        (
            DEEPSPEED | {f"{ZERO}ZERO_STAGE": "3", f"{ZERO}OFFLOAD_PARAM_DEVICE": "cpu"},
            "(ZeRO-3)",
            "fsdp_offload_params: true",
        ),
        (DEEPSPEED | {f"{ZERO}OFFLOAD_OPTIMIZER_DEVICE": "nvme"}, "(ZeRO-2)", "nothing here offloads to a disk"),
    ],
)
def test_a_launcher_that_would_go_wrong(
    environment: dict[str, str], problem: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = refused(monkeypatch, environment)
    assert error.where == "launcher"
    assert problem in error.problem
    assert fix in (error.fix or "")


@pytest.mark.parametrize(
    ("settings", "problem", "fix"),
    [
        ({}, "(ZeRO-0)", "launch with DDP"),
        (
            {"zero_optimization": {"stage": 3, "offload_param": {"device": "cpu"}, "offload_optimizer": None}},
            "(ZeRO-3)",
            "fsdp_offload_params: true",
        ),
    ],
)
def test_a_file_of_deepspeeds_own_decides(
    settings: dict[str, object], problem: str, fix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "zero.json"
    file.write_text(json.dumps(settings), encoding="utf-8")
    environment = DEEPSPEED | {f"{ZERO}CONFIG_FILE": str(file), f"{ZERO}ZERO_STAGE": "1"}
    error = refused(monkeypatch, environment)
    assert problem in error.problem
    assert fix in (error.fix or "")
    file.write_text("zero: 3", encoding="utf-8")
    assert refused(monkeypatch, environment).where == str(file)


def test_it_is_refused_before_anything_is_played(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(InputError, match="DeepSpeed"):
        training_arguments({}, output=tmp_path, seed=0)
