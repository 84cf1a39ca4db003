"""transformers' training arguments of a stage of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from transformers import TrainingArguments

from sparring.generation.products import multiplies_bf16
from sparring.models.loading import torch_device
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.config.unknown_keys import check_section
from sparring.trainer.arguments import autocast_dtype, training_arguments, training_fields
from sparring.trainer.fields import MANAGED, MEANT


def arguments_of(config: SelfPlayConfig, fields: Mapping[str, Any]) -> TrainingArguments:
    """The arguments of a stage that trains with these fields; the stage sets its own folder and seed later.

    Raises:
        InputError: As `training_arguments`; or a field is a setting of another section.
    """
    known = training_fields() | MANAGED.keys() | MEANT.keys()
    check_section(SelfPlayConfig, "training", fields, known=known)
    return training_arguments(fields, output=config.output, seed=config.seed, device=config.model.device)


def epochs_of(config: SelfPlayConfig, fields: Mapping[str, Any], *, rows: int, processes: int) -> float:
    """The epochs of a stage that trains on `rows` rows with these fields, as they say or as `max_steps` makes."""
    args = arguments_of(config, fields)
    if args.max_steps <= 0:
        return float(args.num_train_epochs)
    step = args.per_device_train_batch_size * args.gradient_accumulation_steps * processes
    return float(args.max_steps * step / rows)


def steps_of(args: TrainingArguments, *, rows: int, processes: int) -> int:
    """The optimizer's steps of a stage that trains on `rows` rows with these arguments."""
    if args.max_steps > 0:
        return int(args.max_steps)
    batches = math.ceil(rows / (args.per_device_train_batch_size * processes))
    steps: int = math.ceil(args.num_train_epochs * math.ceil(batches / args.gradient_accumulation_steps))
    return steps


def run_autocast(config: SelfPlayConfig) -> torch.dtype | None:
    """The dtype of mixed precision in which all policies of a run train and score; None: the weights' own."""
    return autocast_dtype(arguments_of(config, config.training))


def bf16_is_faster(config: SelfPlayConfig) -> bool:
    """Whether a run computes in fp32 on a device that is faster in bf16.

    Raises:
        InputError: PyTorch does not see the device.
    """
    if config.model.dtype != "float32" or run_autocast(config) is not None:
        return False
    kind = torch_device(config.model.device).type
    if kind == "cuda":
        has: bool = torch.cuda.is_bf16_supported(including_emulation=False)
        return has
    return kind == "cpu" and multiplies_bf16()
