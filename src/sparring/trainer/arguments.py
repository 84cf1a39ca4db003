"""transformers' training arguments, from the configuration's `training` section."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from sparring.errors import InputError, check_all, did_you_mean
from sparring.trainer.fields import MANAGED, MEANT
from sparring.trainer.launch import check_launch
from sparring.trainer.trackers import check_trackers

_WHOLE = {"per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps", "max_steps"}
_MAPPINGS = {item.name for item in dataclasses.fields(TrainingArguments) if "dict" in str(item.type)}
_AT_LEAST = {
    "learning_rate": 0,
    "num_train_epochs": 0,
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "logging_steps": 0,
    "save_steps": 0,
}
_OF_TORCH = {"adamw_torch", "adamw_torch_fused"}
_DEFAULTS: dict[str, Any] = {
    "per_device_train_batch_size": 4,
    "learning_rate": 2e-5,
    "num_train_epochs": 1,
    "lr_scheduler_type": "linear",
    "logging_steps": 1,
    "logging_first_step": True,
    "save_total_limit": 1,
    "report_to": "none",
    "disable_tqdm": True,
    # A loss that is not a number ends the run, so it must not be filtered from the log.
    "logging_nan_inf_filter": False,
    # Batches are lists of token ids, which cannot be pinned.
    "dataloader_pin_memory": False,
    # Every trained weight takes part in every loss.
    "ddp_find_unused_parameters": False,
}


def training_arguments(
    fields: Mapping[str, Any], *, output: Path, seed: int, device: str = "auto", run_name: str | None = None
) -> TrainingArguments:
    """`TrainingArguments` with the given fields, and with sparring's defaults for the others.

    Args:
        fields: Fields of `TrainingArguments`, except those that the run itself decides.
        output: The trainer's folder.
        seed: Seed of the data order and of dropout.
        device: "cpu" trains on the CPU even where there is an accelerator.
        run_name: The name that trackers show.

    Raises:
        InputError: A field is unknown, may not be set, or has a wrong value; or the launcher shards the model in a way
            that is not supported.
    """
    check_launch()
    # YAML takes the word no for false.
    fields = {name: "no" if value is False and name.endswith("_strategy") else value for name, value in fields.items()}
    check_all(*(partial(_check_field, name, value) for name, value in fields.items()))
    decided = {"output_dir": str(output), "seed": seed, "data_seed": seed, "run_name": run_name}
    # Without `use_cpu`, accelerate would not connect a launcher's processes on a machine that has no accelerator.
    if device == "cpu" or not torch.accelerator.is_available():
        decided["use_cpu"] = True
    try:
        args = TrainingArguments(**(_DEFAULTS | _saving(fields) | decided | dict(fields)))
        check_trackers(args.report_to)
        check_optimizer(args)
        _check_schedule(args)
        # One device: the Trainer would otherwise multiply the batch size by the number of devices that it sees.
        if args.n_gpu > 1:
            args._n_gpu = 1  # noqa: SLF001
    except torch.distributed.DistError:
        # Another process of the launch is gone, so the fields are not at fault.
        raise
    except Exception as error:
        # A value of a wrong type may raise any error in transformers, accelerate or a tracker.
        told = f"{error}".strip() or type(error).__name__
        raise InputError(told.splitlines()[0], where="training") from error
    return args


def saves_by_the_clock(fields: Mapping[str, Any]) -> bool:
    """Whether checkpoints are written at intervals of time, since no field says after how many steps."""
    return not fields.keys() & {"save_strategy", "save_steps"}


def _saving(fields: Mapping[str, Any]) -> dict[str, str]:
    return {"save_strategy": "no"} if saves_by_the_clock(fields) else {}


def check_optimizer(args: TrainingArguments) -> None:
    """Raises ImportError where the optimizer's package is missing."""
    if args.optim in _OF_TORCH:
        return
    # Imported only here: the Trainer imports datasets, pandas and peft, 200 MB that `sparring plan` does not need.
    from transformers import Trainer

    # Some optimizers need the model, which does not exist yet; that is no error.
    with suppress(ValueError):
        Trainer.get_optimizer_cls_and_kwargs(args)


def _check_schedule(args: TrainingArguments) -> None:
    """Takes a step of the learning rate's schedule, since its settings are not checked until then."""
    if args.lr_scheduler_kwargs:
        from transformers import get_scheduler

        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=args.learning_rate or 1.0)
        options = {
            "num_warmup_steps": 1,
            "num_training_steps": 1000,
            "scheduler_specific_kwargs": args.lr_scheduler_kwargs,
        }
        schedule = get_scheduler(args.lr_scheduler_type, optimizer, **options)
        for _ in range(3):
            optimizer.step()
            schedule.step()


def _check_field(name: str, value: Any) -> None:
    """Raises InputError for values that the Trainer would reject only after the responses were generated."""
    defaults = {item.name: item.default for item in dataclasses.fields(TrainingArguments) if item.init}
    where = f"training.{name}"
    if name in MANAGED:
        raise InputError(f"'{name}' cannot be set here", where=where, fix=MANAGED[name])
    if name not in defaults:
        fix = did_you_mean(name, training_fields(), meant=MEANT)
        raise InputError(f"TrainingArguments has no field '{name}'", where=where, fix=fix)
    number = isinstance(defaults[name], int | float) and not isinstance(defaults[name], bool)
    if number and (isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value)):
        raise InputError(f"must be a number, got {value!r}", where=where, fix=_number_again(value))
    if name in _MAPPINGS and not isinstance(value, Mapping | str | None):
        # transformers would take a number for the descriptor of an open file, and close it.
        fix = "write it as `key: value` lines, or name a JSON file"
        raise InputError(f"must be a mapping, got {value!r}", where=where, fix=fix)
    if name in _AT_LEAST and value < _AT_LEAST[name]:
        raise InputError(f"must be at least {_AT_LEAST[name]}, got {value!r}", where=where, fix="raise it")
    if name in _WHOLE and not isinstance(value, int):
        raise InputError(f"must be a whole number, got {value!r}", where=where, fix="round it")
    if name == "train_sampling_strategy":
        check_sampling(value, where=where)
    if name == "save_strategy" and value == "best":
        raise InputError("'best' needs evaluation while training", where=where, fix="take steps, epoch or no")


def check_sampling(strategy: Any, *, where: str) -> None:
    """Raises InputError if the arguments ask to draw rows by their length."""
    if strategy == "group_by_length":
        fix = "remove it: rows are sorted by length within a batch anyway"
        raise InputError("triples cannot be grouped by length: each holds several responses", where=where, fix=fix)


def training_fields() -> frozenset[str]:
    """The fields that a configuration may set."""
    return frozenset(item.name for item in dataclasses.fields(TrainingArguments) if item.init) - MANAGED.keys()


def _number_again(value: Any) -> str:
    """The fix for a value that should be a finite number."""
    with suppress(TypeError, ValueError):
        if isinstance(value, str) and math.isfinite(float(value)):
            return "write it without quotes"
    return "write digits alone, such as 0.0001 or 1e-4"


def autocast_dtype(args: TrainingArguments) -> torch.dtype | None:
    """The dtype of mixed precision, if the fields or the launcher's environment ask for it."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(args.mixed_precision)
