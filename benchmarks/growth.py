"""How does the cost of a step grow with length, prompts, vocabulary, K and history?

    python benchmarks/growth.py [--repeats N] [--device cuda] [--json FILE]

One quantity is doubled several times while the others stay; the least of a few repeats is kept, and the exponent is
the slope of the fit of log time on log quantity over the upper half of the range: 1 is linear. `history` is the time
to score the same responses under h policies, the adapters exchanged on one base.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from measuring import hardware, times, versions
from sparring.heap import freed_memory_kept
from sparring.logprobs import sequence_log_probs

RANGES = {
    "length": [128, 256, 512, 1024, 2048],
    "prompts": [1, 2, 4, 8, 16],
    "vocabulary": [4096, 8192, 16384, 32768, 65536],
    "samples": [1, 2, 4, 8, 16],
    "history": [1, 2, 4, 8],
}
BASE = {"length": 128, "prompts": 2, "vocabulary": 8192, "samples": 1}


def model(vocabulary: int, device: str) -> Any:
    """Four layers, 256 wide: a prompt of 128 tokens takes milliseconds, and products of matrices dominate."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=4,
        num_attention_heads=8,
        max_position_embeddings=8192,
    )
    return LlamaForCausalLM(config).to(device)


def work(length: int, prompts: int, vocabulary: int, samples: int) -> tuple[list[Any], list[Any]]:
    """Prompts of `length` tokens and, to each, the expert's and K generated responses of half of it."""
    ids = torch.randint(3, vocabulary, (prompts, length + (samples + 1) * length // 2)).tolist()
    half = length // 2
    answers = [[row[length + i * half : length + (i + 1) * half] for i in range(samples + 1)] for row in ids]
    return [row[:length] for row in ids], answers


def step(quantity: str, value: int, options: argparse.Namespace) -> float:
    """Forward and backward pass with one quantity changed."""
    sizes = BASE | {quantity: value}
    net = model(sizes["vocabulary"], options.device)
    prompts, answers = work(**sizes)

    def once() -> None:
        torch.cat(sequence_log_probs(net, prompts, answers)).sum().backward()
        net.zero_grad()

    return min(times(once, options.repeats))


def scoring(history: int, options: argparse.Namespace) -> float:
    """The same responses scored under h adapters."""
    from sparring.models import ModelConfig
    from sparring.selfplay.policy import Policy

    with tempfile.TemporaryDirectory() as folder:
        model(BASE["vocabulary"], "cpu").save_pretrained(folder)
        config = ModelConfig(name=folder, device=options.device)
        policy = Policy(config, _Nameless(), lora={"r": 8}, seed=0)
        adapters = [Path(folder) / f"policy-{number}" for number in range(history)]
        for adapter in adapters:
            policy.save(adapter)
        prompts, answers = work(**BASE | {"prompts": 8})

        def once() -> None:
            for adapter in adapters:
                policy.activate(adapter)
                policy.log_probs(prompts, answers)

        return min(times(once, options.repeats))


class _Nameless:
    """Stands where a policy saves its tokenizer; token ids are all there is here."""

    def save_pretrained(self, folder: Path) -> None:
        """Nothing to save."""


def exponent(values: list[int], times: list[float]) -> float:
    """The slope of log time on log quantity over the upper half."""
    half = len(values) // 2
    return float(np.polyfit(np.log(values[half:]), np.log(times[half:]), 1)[0])


def grown(quantity: str, values: list[int], options: argparse.Namespace) -> dict[str, Any]:
    """The times of a quantity's values, and how they grow."""
    measure = (lambda value: scoring(value, options)) if quantity == "history" else None
    taken = [measure(value) if measure else step(quantity, value, options) for value in values]
    result = {"values": values, "seconds": taken, "exponent": exponent(values, taken)}
    print(quantity, json.dumps(result))
    return result


def main() -> None:
    """Prints and stores times and exponents."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with freed_memory_kept():  # as training does
        results = {quantity: grown(quantity, values, options) for quantity, values in RANGES.items()}
    if options.json is not None:
        report = {"hardware": hardware(options.device), "versions": versions(), "base": BASE, "growth": results}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
