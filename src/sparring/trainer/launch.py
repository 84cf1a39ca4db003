"""The ways of launching several processes under which a trained model is known to play right."""

from __future__ import annotations

import os

from sparring.errors import InputError


def check_launch() -> None:
    """Raises InputError for ways of launching several processes under which training or playing would go wrong."""
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        raise InputError(
            "DeepSpeed is not supported: it is not known whether a model that it trained plays right",
            where="launcher",
            fix="launch with FSDP2, which shares out optimizer states, gradients and weights; see docs/scale.md",
        )
    if os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("ACCELERATE_USE_FSDP") != "true":
        return
    if os.environ.get("FSDP_VERSION", "1") == "1":
        raise InputError("FSDP 1 is not supported", where="launcher", fix="set fsdp_version: 2 in accelerate's file")
    if os.environ.get("FSDP_CPU_RAM_EFFICIENT_LOADING", "false") == "true":
        raise InputError(
            "fsdp_cpu_ram_efficient_loading leaves all processes but one without weights, but each must also generate",
            where="launcher",
            fix="set fsdp_cpu_ram_efficient_loading: false in accelerate's file",
        )
