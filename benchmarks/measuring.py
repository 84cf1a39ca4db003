"""What the benchmarks share: a clock, and the names of what they ran on."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

# Every side keeps what it frees: our training asks glibc for that by itself, others by its environment.
KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**62)}


def now() -> float:
    """Seconds on a clock that waits for the accelerator, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def times(function: Callable[[], Any], repeats: int) -> list[float]:
    """Seconds of a few calls, after one that is not counted."""
    function()
    found = []
    for _ in range(repeats):
        start = now()
        function()
        found.append(now() - start)
    return found


def options_of(description: str | None) -> argparse.Namespace:
    """The command line of a benchmark of one model: `--model`, `--repeats` and `--json`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def in_a_process(script: str, job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What `script --worker JOB` prints in its last line, as JSON: one side, in a process of its own."""
    path = folder / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    command = [sys.executable, script, "--worker", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | KEPT)
    if done.returncode:
        raise SystemExit(f"{job['side']} failed:\n{done.stderr[-4000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def ratios(peer: list[dict[str, Any]], ours: list[dict[str, Any]], keys: tuple[str, ...]) -> dict[str, list[float]]:
    """Peer / ours by turn, as [median, lowest, highest]."""
    found = {}
    for key in keys:
        by_turn = sorted(theirs[key] / own[key] for theirs, own in zip(peer, ours, strict=True))
        found[key] = [round(value, 3) for value in (median(by_turn), by_turn[0], by_turn[-1])]
    return found


def hardware(device: str = "cpu") -> str:
    """The processor, and the accelerator where one is used."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    name = f"{cpu or platform.processor()}, {torch.get_num_threads()} threads"
    return f"{torch.cuda.get_device_name()}, {name}" if device == "cuda" else name


def versions(*packages: str) -> dict[str, str]:
    """Of sparring, torch and transformers, and of others that decide the figures."""
    return {name: _version(name) for name in ("sparring", "torch", "transformers", *packages)}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
