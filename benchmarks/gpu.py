"""What a GPU can tell, in one command of at most eight minutes: `make gpu`.

    python benchmarks/gpu.py [--parts NAME …] [--device cpu] [--tiny] [--within SECONDS] [--json FILE]

It needs the checkout, the installed packages and the machine, no network: models are random, of given sizes.

    tests      tests/cuda: attention, layouts, bf16, draws, sampling, training and FSDP2, against a processor
    vllm       the tests of tests/generation/test_vllm.py that need vLLM; skipped where it is not installed
    parity     log-probs, loss and gradient against TRL's DPOTrainer in fp32 (`trl_parity.py`)
    peer       step, epoch and memory beside a tuned DPOTrainer in bf16, 1.2 billion weights (`peer.py`), with MFU
    qlora      steps of a 7B in nf4 with adapters, with memory
    iteration  one iteration of self-play of 0.55 billion weights in bf16: seconds by stage, memory

Each part runs in processes of its own and has a time limit. One that fails or runs out of time is recorded as that, and
the others go on. The file is written after every part. Exit code 1 where any part did not pass.

MFU is 6 · weights · tokens / seconds of a step, over the rate that the maker of the device states: tokens as a trainer
without packing has them, a prompt once a response. Beside it stands the same over the rate of a product of two large
matrices, measured here. Seeds are 0 throughout.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import shapes
from measuring import hardware, times, versions

HERE = Path(__file__).parent
ROOT = HERE.parent
# Dense products in bf16, operations a second, as the maker states them; by a part of the device's name.
PEAKS = {"H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}


# Seconds in which no part gets anywhere.
SHORTEST = 10.0


@dataclass(frozen=True)
class Part:
    """A part of the whole.

    `command` takes the options, the folder for the part's files and the file to write its result into.
    """

    seconds: float
    command: Callable[[argparse.Namespace, Path, Path], Sequence[object]]


def pytest_command(*arguments: str) -> Callable[[argparse.Namespace, Path, Path], Sequence[object]]:
    """A command that runs tests and leaves what became of each as XML."""

    def command(options: argparse.Namespace, _folder: Path, result: Path) -> Sequence[object]:
        marked = "cuda" if options.device == "cuda" else "not cuda"
        chosen = [each.replace("MARKED", marked) for each in arguments]
        # What libraries warn of on CUDA alone is not what is asked here.
        return ["-m", "pytest", "-q", "-W", "default", *chosen, f"--junitxml={result.with_suffix('.xml')}"]

    return command


def parity(options: argparse.Namespace, folder: Path, result: Path) -> Sequence[object]:
    """Against TRL, in fp32; the embedded model's weights come with its package."""
    model = shapes.write("random-tiny", folder) if options.tiny else "smollm2-135m"
    return [HERE / "trl_parity.py", "--model", model, "--device", options.device, "--json", result]


def peer(options: argparse.Namespace, _folder: Path, result: Path) -> Sequence[object]:
    """Beside TRL, in speed and memory."""
    size = (
        ["--model", "random-tiny", "--cases", "tiny"]
        if options.tiny
        else ["--model", "random-1b", "--cases", "wide", "wide-k4", "--micro-batch", "8"]
    )
    sides = ["--sides", "ours", "trl-tuned", "--repeats", 1, "--device", options.device]
    return [HERE / "peer.py", *size, *sides, "--json", result]


def worker(name: str) -> Callable[[argparse.Namespace, Path, Path], Sequence[object]]:
    """A part of `gpu_parts.py`."""

    def command(options: argparse.Namespace, folder: Path, result: Path) -> Sequence[object]:
        tiny = ["--tiny"] if options.tiny else []
        return [HERE / "gpu_parts.py", name, "--folder", folder, "--device", options.device, *tiny, "--json", result]

    return command


PARTS = {
    "tests": Part(100, pytest_command("-m", "MARKED", "tests/cuda")),
    "parity": Part(60, parity),
    "peer": Part(150, peer),
    "iteration": Part(80, worker("iteration")),
    "qlora": Part(120, worker("qlora")),
    "vllm": Part(120, pytest_command("-m", "not slow", "-k", "real", "tests/generation/test_vllm.py")),
}


def main() -> int:
    """Runs the parts and returns the exit code."""
    options = arguments()
    start, report = time.monotonic(), setting(options)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.parts:
            left = options.within - (time.monotonic() - start)
            report["parts"][name] = found = run(name, options, Path(folder), left)
            report["seconds"] = round(time.monotonic() - start, 1)
            print(f"{name}: {found['outcome']} in {found['seconds']} s", json.dumps(found.get("result")), flush=True)
            if found["said"]:
                print(found["said"], file=sys.stderr)
            if options.json is not None:
                options.json.parent.mkdir(parents=True, exist_ok=True)
                options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0 if all(each["outcome"] in {"passed", "skipped"} for each in report["parts"].values()) else 1


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small models, to try the command itself")
    parser.add_argument("--within", type=float, default=470.0, help="seconds for all parts together")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def setting(options: argparse.Namespace) -> dict[str, Any]:
    """What it runs on, and how it was called."""
    import torch

    commit = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    return {
        "command": ["python", "benchmarks/gpu.py", *sys.argv[1:]],
        "commit": told(commit),
        "seed": 0,
        "hardware": hardware(options.device),
        "gpus": told(query),
        "cuda": torch.version.cuda,
        "platform": platform.platform(),
        "versions": {"python": platform.python_version()}
        | versions("accelerate", "peft", "trl", "bitsandbytes", "vllm"),
        "parts": {},
    }


def told(command: list[str]) -> str | None:
    """What a program of the system prints; None where it is not there or fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def run(name: str, options: argparse.Namespace, folder: Path, left: float) -> dict[str, Any]:
    """One part, for as long as it may take."""
    part, result, said, start = PARTS[name], folder / f"{name}.json", folder / f"{name}.txt", time.monotonic()
    limit = min(part.seconds, left)
    if name == "vllm" and importlib.util.find_spec("vllm") is None:
        return {"outcome": "skipped", "seconds": 0.0, "said": "vLLM is not installed"}
    if limit < SHORTEST:
        return {"outcome": "no time left", "seconds": 0.0, "said": ""}
    given: list[str] = []
    try:
        given = [str(each) for each in part.command(options, folder, result)]
        with said.open("w") as out:
            process = subprocess.Popen(
                [sys.executable, *given],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=os.environ | one_gpu(),
                start_new_session=True,
            )
            outcome = ended(process, limit - (time.monotonic() - start))
        found = measured(name, options, result)
    except Exception as error:  # noqa: BLE001 - the other parts go on
        outcome, found = f"failed: {type(error).__name__}: {error}", None
    record = {"outcome": outcome, "seconds": round(time.monotonic() - start, 1), "limit_s": round(limit, 1)}
    tail = said.read_text(errors="replace")[-3000:] if outcome != "passed" and said.exists() else ""
    return record | {"command": ["python", *given], "result": found, "said": tail}


def one_gpu() -> dict[str, str]:
    """The first of the GPUs that may be used: a trainer on its own would take all of them."""
    return {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}


def ended(process: subprocess.Popen[bytes], within: float) -> str:
    """How a process ended; with all that it started, it is killed when its time is up."""
    try:
        code = process.wait(timeout=within)
    except subprocess.TimeoutExpired:
        code = None
    # What it started may still hold the GPU.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return {0: "passed", None: "out of time"}.get(code, f"failed with exit code {code}")


def measured(name: str, options: argparse.Namespace, result: Path) -> Any:
    """What a part left, perhaps before its time was up."""
    if (xml := result.with_suffix(".xml")).exists():
        return outcomes(xml)
    if not result.exists():
        return None
    found = json.loads(result.read_text(encoding="utf-8"))
    return with_mfu(found["cases"], options.device) if name == "peer" else found


def outcomes(xml: Path) -> dict[str, str]:
    """What became of each test."""
    found = {}
    for case in ElementTree.parse(xml).iter("testcase"):
        worse = next((child for child in case if child.tag in {"failure", "error", "skipped"}), None)
        told = "passed" if worse is None else f"{worse.tag}: {worse.get('message', '')}"[:300]
        found[f"{case.get('classname')}::{case.get('name')}"] = told
    return found


def with_mfu(cases: dict[str, Any], device: str) -> dict[str, Any]:
    """The peer's cases, with the rate of each side's steps over what the device can do."""
    stated, reached = peak(device), product_rate(device)
    for case in cases.values():
        what = case["what"]
        for side in case["sides"].values():
            weights, step = side["runs"][0]["parameters"], side["summary"]["step_s"]
            rate = 6 * weights * what["tokens"] / what["prompts"] * what["batch"] / step
            side["summary"] |= {"tflop_per_s": rate / 1e12, "of_measured_product": rate / reached}
            side["summary"]["mfu"] = None if stated is None else rate / stated
    return {"peak_tflop_per_s": stated and stated / 1e12, "product_tflop_per_s": reached / 1e12, "cases": cases}


def peak(device: str) -> float | None:
    """The device's stated rate, if it is known here."""
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else ""
    return next((rate for part, rate in PEAKS.items() if part in name), None)


def product_rate(device: str) -> float:
    """Operations a second of a product of two large matrices: bf16 on a GPU, else fp32."""
    import torch

    size, dtype = (8192, torch.bfloat16) if device == "cuda" else (1024, torch.float32)
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / min(times(lambda: left @ right, 10))


if __name__ == "__main__":
    raise SystemExit(main())
