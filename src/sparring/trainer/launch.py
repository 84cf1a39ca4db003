"""The check that several processes were launched in a supported way."""

from __future__ import annotations

import os

from sparring.errors import InputError


def check_launch() -> None:
    """Raises InputError if several processes were launched in a way that training or playing does not support."""
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        raise InputError(
            "DeepSpeed is not supported: it was not tested whether a model that it trained samples and scores right",
            where="launcher",
            fix="launch with FSDP2, which shares out optimizer states, gradients and weights; see docs/scale.md",
        )
    if os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("ACCELERATE_USE_FSDP") != "true":
        return
    if os.environ.get("FSDP_VERSION", "1") == "1":
        raise InputError("FSDP 1 is not supported", where="launcher", fix="set fsdp_version: 2 in accelerate's file")
    if os.environ.get("FSDP_CPU_RAM_EFFICIENT_LOADING", "false") == "true":
        raise InputError(
            "fsdp_cpu_ram_efficient_loading gives the weights to one process alone, but every process must generate",
            where="launcher",
            fix="set fsdp_cpu_ram_efficient_loading: false in accelerate's file",
        )
