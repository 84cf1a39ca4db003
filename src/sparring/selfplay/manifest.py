"""What would be needed to do a run again: versions, seeds, fingerprints, hardware."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import torch

from sparring.regularizers import Regularized
from sparring.selfplay.components import named_judges
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.phases import Phase

_PACKAGES = (
    "sparring",
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "datasets",
    "tokenizers",
    "numpy",
    "safetensors",
)


def manifest(
    config: SelfPlayConfig, phases: Sequence[Phase], *, fingerprints: dict[str, str], data: dict[str, Any]
) -> dict[str, Any]:
    """The manifest of a run that is about to start.

    It holds no environment variable and no host name; the command line and the paths in it are as they were given.
    """
    return {
        "command": [os.path.basename(sys.argv[0]), *sys.argv[1:]],  # noqa: PTH119 - a name, not a path
        "versions": versions(),
        "seed": config.seed,
        **({"phases": list(map(_objective, phases))} if config.phases else {"objective": _objective(phases[0])}),
        "fingerprints": fingerprints,
        "data": data,
        "reached_by": _reached_by(config),
        "hardware": {
            "machine": platform.machine(),
            "processor": _processor(),
            "cores": psutil.cpu_count(logical=False),
            "threads": torch.get_num_threads(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "accelerators": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
    }


def _objective(phase: Phase) -> dict[str, Any]:
    """The objective with every setting, those that the configuration leaves to their defaults too."""
    objective = phase.objective
    alone: Any = objective.objective if isinstance(objective, Regularized) else objective
    stability = objective.stability
    return {
        "name": phase.config.objective.name,
        "settings": dataclasses.asdict(alone),
        "stability": stability and f"{stability.symbol} = {stability.value:g}: {stability.verdict}",
    }


def versions() -> dict[str, str]:
    """Python's version and those of the packages that decide the numbers."""
    return {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES}


def arithmetic() -> dict[str, Any]:
    """What decides the bits of a computation beside what is computed: the code, and what it runs on."""
    backends: Any = torch.backends
    return {
        "versions": versions() | {"flash-attn": _version("flash-attn")},
        "source": _source_digest(),
        "machine": platform.machine(),
        "processor": _processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "accelerators": sorted({torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}),
        # Backend by backend: torch.get_float32_matmul_precision raises once transformers has set TF32.
        "float32_precision": [
            backends.cuda.matmul.fp32_precision,
            backends.cudnn.conv.fp32_precision,
            backends.mkldnn.matmul.fp32_precision,
        ],
    }


@functools.cache
def _source_digest() -> str:
    """A sha256 of this package's own code, which between two releases changes under one version."""
    folder, digest = Path(__file__).parents[1], hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder)}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def config_fingerprint(config: SelfPlayConfig) -> str:
    """A sha256 of everything that decides the result; where it is written and who does the work do not."""
    reached: dict[str, Any] = {"generation": {"server": True}}
    elsewhere: dict[str, Any] = {
        "output": True,
        "workers": True,
        "reuse": True,
        "phases": {"__all__": reached},
        "evaluation": {name: True for name in ("judge", "embedder") if getattr(config.evaluation, name) is None},
        **reached,
    }
    # What says nothing is left out too, so that runs that were started before it was there can still be resumed.
    if not config.phases:
        elsewhere["phases"] = True
    if config.responses == "opponent":
        elsewhere["responses"] = True
    if not config.stop.alarms:
        # Without an alarm that ends the run, the limits decide nothing but what is said of it.
        elsewhere |= {"stop": {"alarms": True}, "stability": True}
    decisive = config.model_dump(mode="json", exclude=elsewhere)
    for setting in _reached_by(config):
        _remove(decisive, setting)
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _reached_by(config: SelfPlayConfig) -> list[str]:
    """The dotted settings that say how a judge is reached, and decide nothing."""
    return [f"{where}.{name}" for where, judge in named_judges(config).items() for name in judge.reached_by]


def _remove(values: Any, setting: str) -> None:
    """Removes a dotted setting, if it is there, from nested mappings and lists."""
    *path, name = setting.split(".")
    for key in path:
        values = values[int(key) if isinstance(values, list) else key]
    values.pop(name, None)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - a device file
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
