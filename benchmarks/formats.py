"""What do number formats bring on this processor? Tokens a second of CPU time, sampled, scored and trained.

    python benchmarks/formats.py [--model NAME] [--repeats N] [--json FILE]

SmolLM2-135M with an adapter, on one thread, on the work by which `sparring plan` measures a machine; CPU time, so that
other work beside it hardly counts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from measuring import hardware, options_of, versions

FORMATS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "fp32, training.bf16": {"training": {"bf16": True}},
    "model.dtype=bfloat16": {"dtype": "bfloat16"},
    "model.dtype=bfloat16, training.bf16": {"dtype": "bfloat16", "training": {"bf16": True}},
}


def main() -> None:
    """Prints a row of each format."""
    options = options_of(__doc__)
    torch.set_num_threads(1)
    found = {}
    for name, settings in FORMATS.items():
        found[name] = rates(options.model, options.repeats, **settings)
        print(f"{name:40}", {work: round(rate) for work, rate in found[name].items()}, flush=True)
    if options.json is not None:
        about = {"hardware": hardware(), "versions": versions("peft"), "model": options.model}
        options.json.write_text(json.dumps(about | {"rates": found}, indent=1) + "\n", encoding="utf-8")


def rates(model: str, repeats: int, dtype: str = "float32", training: dict[str, Any] | None = None) -> dict[str, float]:
    """Tokens a second of CPU time, by what is done; the median of the repeats."""
    from sparring.planning.rates import generate_once, score_once, train_once
    from sparring.selfplay.arguments import run_autocast
    from sparring.selfplay.config.schema import SelfPlayConfig
    from sparring.selfplay.policy import Policy
    from sparring.selfplay.prepared import prepare

    prepared = prepare(
        SelfPlayConfig.from_mapping(
            {
                "output": "runs/formats",
                "model": {"name": model, "device": "cpu", "dtype": dtype},
                "data": {"source": "arithmetic", "difficulty": 1, "limit": 64, "held_out": 0},
                "lora": {"r": 16, "lora_alpha": 32},
                "warmup": None,
                "objective": {"name": "spin"},
                "generation": {"batch_size": 64},
                "training": training or {},
            }
        )
    )
    config = prepared.config
    policy = Policy(config.model, prepared.tokenizer, lora=config.lora, seed=config.seed, autocast=run_autocast(config))
    batch = sorted(prepared.train.examples, key=lambda item: len(item.prompt_ids) + len(item.expert_ids))[24:40]
    work: dict[str, Callable[[], int]] = {
        "generate": lambda: generate_once(prepared, policy, batch[:8]),
        "score": lambda: score_once(policy, batch),
        "train": lambda: train_once(policy, batch[:8]),
    }
    return {name: median(_rate(once) for _ in range(repeats + 1)) for name, once in work.items()}


def _rate(once: Callable[[], int]) -> float:
    start = time.process_time()
    tokens = once()
    return tokens / (time.process_time() - start)


if __name__ == "__main__":
    main()
