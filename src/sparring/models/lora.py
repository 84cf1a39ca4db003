"""Peft's `LoraConfig`, from the configuration's `lora` section."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sparring.errors import InputError, did_you_mean

MEANT = {
    **dict.fromkeys(("rank", "lora_r", "lora_rank"), "r"),
    "alpha": "lora_alpha",
    "dropout": "lora_dropout",
    # TRL's names of these begin with the name of the section.
    **{f"lora_{name}": name for name in ("target_modules", "target_parameters", "modules_to_save")},
}
"""Fields, by the names that people write for them."""


def lora_fields() -> frozenset[str]:
    """The fields that may be set."""
    from peft import LoraConfig

    return frozenset(item.name for item in dataclasses.fields(LoraConfig)) - {"task_type", "inference_mode"}


def lora_config(fields: Mapping[str, Any]) -> Any:
    """Peft's `LoraConfig`, by default on all linear layers.

    Raises:
        InputError: A field is unknown or its value is rejected.
    """
    from peft import LoraConfig

    known = lora_fields()
    for name in fields:
        if name not in known:
            fix = did_you_mean(name, known, meant=MEANT)
            raise InputError(f"LoraConfig has no field '{name}'", where=f"lora.{name}", fix=fix)
    rank, dropout = fields.get("r", 8), fields.get("lora_dropout", 0.0)
    if not isinstance(rank, int) or rank < 1:
        raise InputError(f"the rank must be a whole number ≥ 1, got {rank!r}", where="lora.r", fix="try 16")
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise InputError(f"must be a number in [0, 1), got {dropout!r}", where="lora.lora_dropout", fix="try 0")
    try:
        return LoraConfig(**({"target_modules": "all-linear"} | dict(fields)), task_type="CAUSAL_LM")
    except Exception as error:
        # A value of a wrong type may raise any error in peft.
        told = f"{error}".strip() or type(error).__name__
        raise InputError(told, where="lora", fix="correct the field that it is about") from error
