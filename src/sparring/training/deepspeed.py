"""What a launch asked of DeepSpeed, and what comes nearest to it here."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparring.errors import InputError

# What comes nearest to each stage of ZeRO.
_INSTEAD = {
    0: "launch with DDP, which shares out nothing either",
    1: "launch with FSDP2 and fsdp_reshard_after_forward: false, which shares out optimizer states, and more",
    2: "launch with FSDP2 and fsdp_reshard_after_forward: false, which shares out gradients and optimizer states",
    3: "launch with FSDP2 and fsdp_reshard_after_forward: true, which shares out weights too",
}


def refused() -> InputError:
    """The error for a launch with DeepSpeed, which says what to launch instead."""
    stage, devices = _zero()
    problem = f"DeepSpeed (ZeRO-{stage}) is not supported: it is not known whether a model that it trained plays right"
    fix = _INSTEAD.get(stage, _INSTEAD[3])
    if "cpu" in devices:
        fix += "; fsdp_offload_params: true keeps them on the CPU, which was not tried"
    if "nvme" in devices:
        fix += "; nothing here offloads to a disk"
    return InputError(problem, where="launcher", fix=f"{fix}; see docs/scale.md")


def _zero() -> tuple[int, set[str]]:
    """The stage of ZeRO, and where it offloads to; accelerate hands on a file of DeepSpeed's own, or variables."""
    file = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none")
    if file.lower() == "none":
        devices = (f"ACCELERATE_DEEPSPEED_OFFLOAD_{part}_DEVICE" for part in ("OPTIMIZER", "PARAM"))
        stage = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
        return int(stage), {os.environ.get(name, "none") for name in devices}
    try:
        zero: Mapping[str, Any] = json.loads(Path(file).read_text(encoding="utf-8")).get("zero_optimization", {})
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"DeepSpeed's file cannot be read ({error})", where=file, fix="launch with FSDP2") from error
    parts = (zero.get(name) or {} for name in ("offload_optimizer", "offload_param"))
    return int(zero.get("stage", 0)), {str(part.get("device", "none")) for part in parts}
