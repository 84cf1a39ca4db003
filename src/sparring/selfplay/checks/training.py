"""Checks that the settings of training, workers and adapter are valid."""

from __future__ import annotations

from typing import Any

from sparring.errors import InputError
from sparring.models.adapters import Adapter, adapter_of
from sparring.models.lora import MEANT, lora_config, lora_fields
from sparring.selfplay.arguments import arguments_of
from sparring.selfplay.checks.quantization import check_quantization
from sparring.selfplay.checks.workers import check_workers
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.config.unknown_keys import check_section
from sparring.selfplay.phases import errors_name_phase
from sparring.trainer.arguments import autocast_dtype


def check_training(config: SelfPlayConfig) -> None:
    """Raises InputError where training arguments, workers, the adapter or what it is trained on are wrong."""
    if config.warmup is not None:
        arguments_of(config, config.warmup.fields(config.training))
    own = arguments_of(config, config.training)
    for number, phase in enumerate(config.phases):
        with errors_name_phase(config, number):
            if autocast_dtype(arguments_of(config, phase.training)) != autocast_dtype(own):
                raise InputError(
                    "the run has one mixed precision, in which all of its policies are scored",
                    where="training",
                    fix="leave bf16 and fp16 out here, and set them in the run's own training",
                )
    check_workers(config, own.device)
    check_quantization(config, own)
    if config.lora is not None:
        check_section(SelfPlayConfig, "lora", config.lora, known=lora_fields() | MEANT.keys())
        lora_config(config.lora)


def adapter_for(config: SelfPlayConfig, model_config: Any) -> Adapter | None:
    """The run's LoRA as fitted to the model; None if it has none.

    Raises:
        InputError: It does not fit, or the weights that it trains could not be exported.
    """
    if config.lora is None:
        return None
    return adapter_of(model_config, lora_config(config.lora), trust_remote_code=config.model.trust_remote_code)
