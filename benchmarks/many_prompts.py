"""How do time and memory of everything around the model grow with the number of prompts?

    python benchmarks/many_prompts.py [--prompts 1250 2500 5000 10000] [--json FILE]

Prompts of 100 tokens with experts' responses of 31, made up from a seed, and a model of two small layers and fifteen
tokens, which takes little time itself: the plan, then one iteration of `spif` with four training steps, the report and
the export of all samples, each a command of its own. Seconds are of the processor, so that other work beside it hardly
counts; memory is the peak of the command's process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from transformers import LlamaConfig, LlamaForCausalLM

import sums
from growth import exponent
from measuring import hardware, versions

PROMPT_TOKENS, RESPONSE_TOKENS = 100, 32


def main() -> None:
    """Prints and stores what each command took, by the number of prompts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, nargs="+", default=[1250, 2500, 5000, 10000])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        model = small_model(Path(folder) / "model")
        for count in options.prompts:
            for command, (seconds, memory) in measured(Path(folder), model, count).items():
                row = found.setdefault(command, {"seconds": [], "mib": []})
                row["seconds"].append(round(seconds, 2))
                row["mib"].append(round(memory, 1))
                print(f"{count:6} prompts  {command:14} {seconds:7.1f} s {memory:8.1f} MiB", flush=True)
    for row in found.values():
        row["exponent"] = round(exponent(options.prompts, row["seconds"]), 2)
    if options.json is not None:
        about = {"hardware": hardware(), "versions": versions(), "prompts": options.prompts}
        options.json.write_text(json.dumps(about | {"commands": found}, indent=1) + "\n", encoding="utf-8")


def small_model(folder: Path) -> Path:
    """Two layers, 64 wide, with random weights, and a tokenizer of digits and signs."""
    sums.untrained(folder, seed=0)
    config = LlamaConfig.from_pretrained(folder)
    for name, value in (("hidden_size", 64), ("intermediate_size", 128), ("num_hidden_layers", 2)):
        setattr(config, name, value)
    config.max_position_embeddings, config.head_dim = 256, 16
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def measured(folder: Path, model: Path, count: int) -> dict[str, tuple[float, float]]:
    """Seconds of the processor and MiB of each command on so many prompts."""
    data, run = folder / f"{count}.jsonl", folder / f"run-{count}"
    write(data, count)
    settings = [
        "spin",
        f"model.name={model}",
        f"data.source={data}",
        "data.limit=null",
        "data.verifier=null",
        "data.chat_template=none",
        "data.held_out=32",
        f"data.max_response_tokens={RESPONSE_TOKENS}",
        "objective={name: spif, beta: 1, reward_bound: 2}",
        "iterations=1",
        "generation.batch_size=128",
        "training.max_steps=4",
        "warmup=null",
        "reuse=false",
        f"output={run}",
    ]
    return {
        "plan": command("plan", *settings, "--no-calibration"),
        "train": command("train", *settings),
        "report": command("report", run),
        "export-samples": command("export-samples", run, folder / f"{count}.parquet"),
    }


def write(path: Path, count: int) -> None:
    """Rows of digits, every prompt with a number of its own."""
    draw = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            digits = "".join(draw.choices("0123456789+", k=PROMPT_TOKENS - 6))
            response = "".join(draw.choices("0123456789", k=RESPONSE_TOKENS - 1))
            file.write(json.dumps({"prompt": f"{number:05}{digits}=", "response": response}) + "\n")


def command(*arguments: object) -> tuple[float, float]:
    """Seconds of the processor and MiB at the peak of one command."""
    started = subprocess.Popen([sys.executable, "-m", "sparring", *map(str, arguments)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(started.pid, 0)
    if status:
        raise SystemExit(f"sparring {arguments[0]} failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
