"""Checks that the run can train on a quantised base model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sparring.errors import InputError
from sparring.generation import names
from sparring.models.quantization import check_installed
from sparring.selfplay.config.schema import SelfPlayConfig

if TYPE_CHECKING:
    from transformers import TrainingArguments

_WHERE = "model.quantization"
_WITHOUT = "remove model.quantization"


def check_quantization(config: SelfPlayConfig, args: TrainingArguments) -> None:
    """Refuses a quantised base model if no adapter is trained on it, or if an engine would play with other weights.

    Args:
        config: The configuration of the run.
        args: transformers' training arguments.

    Raises:
        InputError: It is refused, or bitsandbytes is missing or does not run on the device.
    """
    quantization = config.model.quantization
    if quantization is None:
        return
    check_installed()
    if config.lora is None:
        problem = f"weights of {quantization} cannot be trained themselves, only adapters on them"
        raise InputError(problem, where=_WHERE, fix=f"add lora: {{r: 16}}, or {_WITHOUT}")
    if config.generation.engine is not None:
        raise InputError(
            f"the generator '{config.generation.name}' has weights of its own, which are not those of {quantization} "
            "that the adapters are trained on",
            where="generation.name",
            fix=f"set it to {names(lambda kind: kind.engine is None)}, or {_WITHOUT}",
        )
    if args.device.type not in {"cpu", "cuda"}:
        problem = f"quantised weights are known to play right on CUDA and on the CPU, not on {args.device.type}"
        raise InputError(problem, where="model.device", fix=f"set it to cpu, or {_WITHOUT}")
    refuse_sharding(config, sharded=bool(args.fsdp) or os.environ.get("ACCELERATE_USE_FSDP") == "true")


def refuse_sharding(config: SelfPlayConfig, *, sharded: bool) -> None:
    """Raises InputError if processes would share out a quantised base model's weights."""
    if sharded and config.model.quantization is not None:
        problem = f"FSDP shares out the weights that are trained, and those of {config.model.quantization} are not"
        fix = f"launch with DDP, where every process holds them, or {_WITHOUT}"
        raise InputError(problem, where=_WHERE, fix=fix)
