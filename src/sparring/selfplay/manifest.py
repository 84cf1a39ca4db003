"""The manifest: everything that is needed to repeat a run, such as versions, seeds, fingerprints, hardware."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import torch

from sparring.data import Clock
from sparring.errors import without_user
from sparring.games.stability import stability
from sparring.regularizers import split_regularizers
from sparring.run_directory import RunDirectory
from sparring.run_files import read_manifest
from sparring.selfplay.components import named_judges
from sparring.selfplay.config.schema import PhaseConfig, SelfPlayConfig
from sparring.selfplay.phases import Phase
from sparring.settings import remove

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
_QUANTIZES = "bitsandbytes"


def manifest(
    config: SelfPlayConfig,
    phases: Sequence[Phase],
    *,
    fingerprints: dict[str, str],
    own_code: dict[str, dict[str, str]],
    data: dict[str, Any],
) -> dict[str, Any]:
    """The manifest of a run that is about to start.

    It holds no environment variable and no host name; the command line and the paths in it are as they were given,
    without the user and password of an address.
    `elsewhere` names the settings that do not change the result, for comparisons of runs by their `config.yaml`.
    """
    return {
        "command": _command(),
        "versions": versions(config),
        "installed": installed(),
        "seed": config.seed,
        **({"phases": list(map(_objective, phases))} if config.phases else {"objective": _objective(phases[0])}),
        "fingerprints": fingerprints,
        "elsewhere": elsewhere(config),
        "own_code": own_code,
        "data": data,
        "hardware": {
            "machine": platform.machine(),
            "processor": _processor(),
            "cores": psutil.cpu_count(logical=False),
            "threads": torch.get_num_threads(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "accelerators": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
    }


def run_clock(directory: RunDirectory) -> Clock:
    """The time that a run's chat template sees: that of its start."""
    return Clock.read(read_manifest(directory.manifest, "data.template")["data"]["template"]["clock"])


def _objective(phase: Phase) -> dict[str, Any]:
    """The objective of a phase with all its settings, defaults included."""
    alone: Any = split_regularizers(phase.objective)[0]
    number = stability(phase.objective)
    return {
        "name": phase.config.objective.name,
        "settings": dataclasses.asdict(alone),
        "stability": number and str(number),
    }


def _command() -> list[str]:
    name = Path(sys.argv[0]).name
    # The command's name under `python -m sparring`.
    return ["sparring" if name == "__main__.py" else name, *map(without_user, sys.argv[1:])]


def installed() -> str:
    """The source that this package was installed from: "index", "commit …" of a repository, or "folder"."""
    found = importlib.metadata.distribution("sparring")
    if not Path(str(found.locate_file("sparring"))).exists():
        return "folder"
    # PEP 610: a package that was not installed from an index has this file.
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    commit = origin.get("vcs_info", {}).get("commit_id")
    return f"commit {commit}" if commit else "folder" if origin else "index"


def versions(config: SelfPlayConfig) -> dict[str, str]:
    """Python's version and those of the packages that decide the numbers of a run."""
    return _versions() | ({} if config.model.quantization is None else {_QUANTIZES: _version(_QUANTIZES)})


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES}


def arithmetic() -> dict[str, Any]:
    """The code, versions and hardware, which decide the bits of every computation."""
    backends: Any = torch.backends
    return {
        "versions": _versions() | {name: _version(name) for name in (_QUANTIZES, "flash-attn")},
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
    """A sha256 of this package's own code, which changes between releases without a new version."""
    folder, digest = Path(__file__).parents[1], hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder)}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def config_fingerprint(config: SelfPlayConfig) -> str:
    """A sha256 of the settings that decide the result; see `elsewhere` for those that do not."""
    decisive = config.model_dump(mode="json")
    for key in elsewhere(config):
        remove(decisive, key)
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def elsewhere(config: SelfPlayConfig) -> list[str]:
    """The settings that do not change the result, as dotted keys, such as the output and the addresses of servers.

    The limits of the stability monitor are among them unless an alarm may end the run.
    """
    phases: dict[str, PhaseConfig] = {"": config} | {f"phases.{n}.": phase for n, phase in enumerate(config.phases)}
    samplers = [f"{at}generation.{name}" for at, p in phases.items() for name in sorted(p.generation.reached_by)]
    judges = [f"{at}.{name}" for at, judge in named_judges(config).items() for name in judge.reached_by]
    limits = [] if config.stop.alarms else ["stability"]
    return ["output", "keep", "workers", "reuse", *samplers, *judges, *limits]


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
