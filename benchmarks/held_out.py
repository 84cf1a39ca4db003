"""What do held-out answers cost? Greedy and sampled ones from one reading of the prompts, beside one after the other.

    python benchmarks/held_out.py [--model NAME] [--prompts N] [--repeats N] [--json FILE]

SmolLM2-135M in bf16 with an adapter of rank 16 that says a little, on one thread, on word problems with answers of
at most 24 tokens. All ways have their turn in one process, in an order that is turned round each time; CPU time, so
that other work beside it hardly counts.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch

from measuring import hardware, versions

TOKENS = 24
WAYS = {
    "one after the other, adapters by peft": (False, False),
    "together, adapters by peft": (True, False),
    "together, adapters with their layers": (True, True),
}


def main() -> None:
    """Prints how many times the first way takes as long as each, by turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    prompts, generator = build(options.model, options.prompts)
    # The proofs of how the model is decoded are no part of it.
    sample(generator, prompts[:1], together=False)
    sample(generator, prompts[:1], together=True)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(options.repeats):
        for way in list(WAYS)[:: -1 if turn % 2 else 1]:
            seconds[way].append(once(generator, prompts, *WAYS[way]))
            print(f"{way:42} {seconds[way][-1]:6.1f} s", flush=True)
    first = seconds[next(iter(WAYS))]
    found = {way: [round(a / b, 2) for a, b in zip(first, spent, strict=True)] for way, spent in seconds.items()}
    print({way: (median(ratios), ratios) for way, ratios in found.items()})
    if options.json is not None:
        about = {"hardware": hardware(), "versions": versions("peft"), "model": options.model, "prompts": len(prompts)}
        options.json.write_text(json.dumps(about | {"seconds": seconds, "times": found}, indent=1) + "\n")


def build(model: str, count: int) -> tuple[list[Any], Any]:
    """Prompts, and the generator of a policy with an adapter."""
    from sparring.data import DataConfig, encode, load
    from sparring.generation import generation_config
    from sparring.models import ModelConfig, load_tokenizer
    from sparring.selfplay.engine import generator_for
    from sparring.selfplay.policy import Policy

    loaded = ModelConfig(name=model, device="cpu", dtype="bfloat16")
    data = DataConfig(source="arithmetic", limit=count, held_out=0, difficulty=1, max_response_tokens=TOKENS)
    tokenizer = load_tokenizer(loaded)
    encoded = encode(load(data, seed=0).train, tokenizer, data, context_length=1024)
    policy = Policy(loaded, tokenizer, lora={"r": 16, "lora_alpha": 32}, seed=0)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.002)
    settings = generation_config(batch_size=64)
    return encoded.examples, generator_for(settings, policy, None, stop_ids=encoded.stop_ids, max_new_tokens=TOKENS)


def once(generator: Any, prompts: list[Any], together: bool, at_once: bool) -> float:
    """Seconds of CPU time of both kinds of answers."""
    with nullcontext() if at_once else patch("sparring.generation.products._adapter", return_value=None):
        start = time.process_time()
        sample(generator, prompts, together=together)
        return time.process_time() - start


def sample(generator: Any, prompts: list[Any], *, together: bool) -> None:
    """A sample and the greedy answer to each prompt."""
    from sparring.generation import generation_config

    sampled = generation_config(batch_size=64)
    asked = [(sampled, 0), (sampled.greedy(), 0)]
    for part in [asked] if together else [[each] for each in asked]:
        generator.sample_together(prompts, part)


if __name__ == "__main__":
    main()
