"""Every field of `TrainingArguments` is reachable, but those that the loop decides."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainingArguments

from sparring.errors import InputError
from sparring.models.lora import lora_config
from sparring.trainer.arguments import autocast_dtype, training_arguments

_MANAGED = {
    "output_dir",
    "seed",
    "data_seed",
    "remove_unused_columns",
    "resume_from_checkpoint",
    "load_best_model_at_end",
    "hub_token",
    "save_only_model",
    "ignore_data_skip",
    "auto_find_batch_size",
    "label_smoothing_factor",
    "eval_strategy",
    "eval_on_start",
    "do_eval",
    "deepspeed",
    "torch_compile",
    "torch_compile_backend",
    "torch_compile_mode",
    "push_to_hub",
    "use_liger_kernel",
}
_FIELDS = sorted(item.name for item in dataclasses.fields(TrainingArguments) if item.init)
# Another valid value than the default, where it can be told what that is on a CPU without further packages.
_OTHER: dict[str, Any] = {
    "learning_rate": 3e-4,
    "weight_decay": 0.1,
    "num_train_epochs": 7,
    "max_steps": 11,
    "per_device_train_batch_size": 3,
    "gradient_accumulation_steps": 2,
    "gradient_checkpointing": True,
    "gradient_checkpointing_kwargs": {"use_reentrant": False},
    "max_grad_norm": 0.5,
    "lr_scheduler_type": "cosine",
    "optim": "adafactor",
    "adam_beta2": 0.9,
    "warmup_steps": 5,
    "logging_steps": 4,
    "save_steps": 9,
    "save_total_limit": 3,
    "bf16": True,
    "neftune_noise_alpha": 5.0,
    "dataloader_drop_last": True,
    "report_to": ["tensorboard"],
    "run_name": "mine",
    "disable_tqdm": False,
}


def build(tmp_path: Path, **fields: Any) -> TrainingArguments:
    return training_arguments(fields, output=tmp_path, seed=4, device="cpu", run_name="house")


@pytest.mark.parametrize("name", [name for name in _FIELDS if name not in _MANAGED])
def test_every_field_is_reachable(name: str, tmp_path: Path) -> None:
    default = getattr(build(tmp_path), name)
    if dataclasses.is_dataclass(default) or isinstance(default, dict):
        default = None
    build(tmp_path, **{name: default})


@pytest.mark.parametrize("name", _OTHER)
def test_a_field_that_is_set_is_what_counts(name: str, tmp_path: Path) -> None:
    value = _OTHER[name]
    assert getattr(build(tmp_path), name) != value
    assert getattr(build(tmp_path, **{name: value}), name) == value


@pytest.mark.parametrize("name", sorted(_MANAGED))
def test_what_the_loop_decides_says_where_to_set_it(name: str, tmp_path: Path) -> None:
    assert name in _FIELDS
    with pytest.raises(InputError, match=f"'{name}' cannot be set here") as caught:
        build(tmp_path, **{name: 1})
    assert caught.value.where == f"training.{name}"
    assert caught.value.fix


def test_what_the_loop_decides(tmp_path: Path) -> None:
    args = build(tmp_path)
    assert (args.output_dir, args.seed, args.data_seed, args.run_name) == (str(tmp_path), 4, 4, "house")
    assert args.device == torch.device("cpu")
    assert args.report_to == []
    assert args.logging_nan_inf_filter is False


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        build(tmp_path, learnin_rate=1, warmup_ratio=0.1, max_steps="many")
    assert str(caught.value).splitlines() == [
        "training.learnin_rate: TrainingArguments has no field 'learnin_rate'; did you mean 'learning_rate'?",
        "  training.warmup_ratio: 'warmup_ratio' cannot be set here; set warmup_steps: below 1 it is a share of the "
        "steps, as in warmup_steps: 0.1",
        "  training.max_steps: must be a number, got 'many'; write digits alone, such as 0.0001 or 1e-4",
    ]


@pytest.mark.parametrize(
    ("fields", "where", "message", "fix"),
    [
        (
            {"learnin_rate": 1},
            "training.learnin_rate",
            "TrainingArguments has no field 'learnin_rate'",
            "did you mean 'learning_rate'?",
        ),
        ({"optim": "foo"}, "training", "foo is not a valid OptimizerNames", None),
        (
            {"lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": "x"}},
            *("training", "could not convert string to float: 'x'", None),
        ),
        (
            {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"powr": 2}},
            "training",
            "get_polynomial_decay_schedule_with_warmup() got an unexpected keyword argument 'powr'",
            None,
        ),
        ({"lr_scheduler_type": "foo"}, "training", "foo is not a valid SchedulerType", None),
        ({"logging_steps": 0}, "training", "logging strategy", None),
    ],
)
def test_nonsense_is_refused(fields: dict[str, Any], where: str, message: str, fix: str | None, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        build(tmp_path, **fields)
    assert caught.value.where == where
    assert caught.value.problem.startswith(message)
    assert caught.value.fix == fix
    assert "\n" not in caught.value.problem


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cosine_with_restarts", {"num_cycles": 3}),
        ("cosine_with_min_lr", {"min_lr_rate": 0.1}),
        ("cosine_with_min_lr", {"min_lr": 1e-6}),
        ("polynomial", {"power": 2.0, "lr_end": 1e-7}),
        ("warmup_stable_decay", {"num_decay_steps": 100}),
        ("inverse_sqrt", {"timescale": 10}),
    ],
)
def test_settings_of_a_schedule_are_taken(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    fields = {"lr_scheduler_type": name, "lr_scheduler_kwargs": settings}
    assert training_arguments(fields, output=tmp_path, seed=0, device="cpu").lr_scheduler_kwargs == settings


@pytest.mark.parametrize(
    ("fields", "dtype"),
    [({}, None), ({"bf16": True}, torch.bfloat16), ({"fp16": True}, torch.float16), ({"bf16": False}, None)],
)
def test_autocast_is_what_training_uses(fields: dict[str, Any], dtype: torch.dtype | None, tmp_path: Path) -> None:
    assert autocast_dtype(build(tmp_path, **fields)) == dtype


def test_lora_defaults_to_all_linear_layers() -> None:
    config = lora_config({"r": 4})
    assert (config.r, config.target_modules, config.task_type) == (4, "all-linear", "CAUSAL_LM")
    assert lora_config({"target_modules": ["q_proj"]}).target_modules == {"q_proj"}


@pytest.mark.parametrize(
    ("fields", "where", "message"),
    [
        ({"rr": 1}, "lora.rr", "LoraConfig has no field 'rr'"),
        ({"lora_alfa": 1}, "lora.lora_alfa", "LoraConfig has no field 'lora_alfa'"),
        ({"task_type": "CAUSAL_LM"}, "lora.task_type", "LoraConfig has no field 'task_type'"),
        ({"r": 0}, "lora.r", "the rank must be a whole number ≥ 1, got 0"),
        ({"lora_dropout": 2}, "lora.lora_dropout", "must be a number in [0, 1), got 2"),
        ({"layers_to_transform": [0]}, "lora", "`layers_to_transform` cannot be used"),
    ],
)
def test_lora_errors(fields: dict[str, Any], where: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        lora_config(fields)
    assert caught.value.where == where
    assert caught.value.problem.startswith(message)


def test_a_misspelt_lora_field_gets_a_suggestion() -> None:
    with pytest.raises(InputError) as caught:
        lora_config({"lora_alfa": 1})
    assert caught.value.fix == "did you mean 'lora_alpha'?"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learning_rate": "abc"}, "must be a number, got 'abc'"),
        ({"learning_rate": -1}, "must be at least 0, got -1"),
        ({"learning_rate": float("nan")}, "must be a number, got nan"),
        ({"per_device_train_batch_size": "4"}, "must be a number, got '4'"),
        ({"per_device_train_batch_size": 0}, "must be at least 1, got 0"),
        ({"gradient_accumulation_steps": 0}, "must be at least 1, got 0"),
        ({"max_steps": "a"}, "must be a number, got 'a'"),
        ({"save_strategy": "best"}, "'best' needs evaluation while training"),
        ({"report_to": "nope"}, "nope is not supported"),
        ({"report_to": "wandb"}, "requires wandb to be installed"),
        ({"optim": "lomo"}, "lomo"),
    ],
)
def test_what_the_trainer_would_only_stumble_over_later(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        build(tmp_path, **fields)


def test_no_is_a_strategy_although_yaml_takes_it_for_false(tmp_path: Path) -> None:
    args = training_arguments({"save_strategy": False, "save_steps": 5}, output=tmp_path, seed=0, device="cpu")
    assert args.save_strategy == "no"


@pytest.mark.parametrize("name", ["fsdp_config", "accelerator_config", "lr_scheduler_kwargs"])
@pytest.mark.parametrize("value", [1, True, 2.5, ["a"]])
def test_a_number_is_not_taken_for_an_open_file(tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"^training.{name}: must be a mapping"):
        training_arguments({name: value}, output=tmp_path, seed=0, device="cpu")
    os.fstat(1)
