"""Launches that are refused say what to launch instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparring.errors import InputError
from sparring.trainer.arguments import training_arguments
from sparring.trainer.launch import check_launch

FSDP = {"WORLD_SIZE": "2", "ACCELERATE_USE_FSDP": "true"}


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
            "gives the weights to one process alone",
            "fsdp_cpu_ram_efficient_loading: false",
        ),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "DeepSpeed is not supported", "launch with FSDP2"),
    ],
)
def test_a_launcher_that_would_go_wrong(
    environment: dict[str, str], problem: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = refused(monkeypatch, environment)
    assert error.where == "launcher"
    assert problem in error.problem
    assert fix in (error.fix or "")


def test_it_is_refused_before_anything_is_played(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(InputError, match="DeepSpeed"):
        training_arguments({}, output=tmp_path, seed=0)
