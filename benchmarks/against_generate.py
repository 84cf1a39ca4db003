"""Our sampling beside transformers' `generate`, in one process, turn about.

`python benchmarks/generation.py --turns N` runs it. Each case has prompts of the arithmetic task, K = 4, temperature 1,
fp32, and lengths that are drawn once, so that every way decodes the very same number of tokens: 15 on average with a
standard deviation of 3.6, of which a batch of 32 wastes 34 % where what ended stays. The CPU time of one turn of each
way is compared within the turn; the order is turned round each time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
import transformers
from torch import nn

from sparring.generation import generation_config
from sparring.generation.decoding import Decoding
from sparring.generation.draws import Draws
from sparring.generation.products import laid_out
from sparring.generation.readers import reader_of
from sparring.generation.rows import PromptRows, SampledRow, common_prefix, decode

SAMPLES, AT_ONCE, TURNS_OF_A_BATCH = 4, 32, 4
MEAN, DEVIATION, SHORTEST = 15, 3.6, 3
CASES = {"arithmetic": 0, "arithmetic, 200 shared tokens first": 200}

Prompts = Sequence[Sequence[int]]
Lengths = Sequence[Sequence[int]]
Way = Callable[[Any, Prompts, Lengths], None]


class _Limits(transformers.StoppingCriteria):
    """Ends each row at a length of its own."""

    def __init__(self, start: int, limits: Sequence[int]) -> None:
        self._start, self._limits = start, torch.tensor(limits)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return input_ids.shape[1] - self._start >= self._limits


def generate(model: Any, prompts: Prompts, lengths: Lengths, *, once: bool = False) -> None:
    """Plain `generate` on left-padded batches; with `once`, each prompt but for its last token is read once."""
    size = AT_ONCE // SAMPLES
    for start in range(0, len(prompts), size):
        batch, limits = prompts[start : start + size], [each for row in lengths[start : start + size] for each in row]
        longest = max(map(len, batch))
        ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in batch])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in batch])
        model.generate(
            input_ids=ids.repeat_interleave(SAMPLES, 0),
            attention_mask=mask.repeat_interleave(SAMPLES, 0),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=max(limits),
            pad_token_id=0,
            eos_token_id=None,
            stopping_criteria=[_Limits(longest, limits)],
            **({"past_key_values": _read(model, ids, mask)} if once else {}),
        )


def _read(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> Any:
    positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, :-1]
    inputs = {"input_ids": ids[:, :-1], "attention_mask": mask[:, :-1], "position_ids": positions}
    cache = model(**inputs, use_cache=True, logits_to_keep=1).past_key_values
    cache.batch_repeat_interleave(SAMPLES)
    return cache


def ours(model: Any, prompts: Prompts, lengths: Lengths) -> None:
    """As the generator `transformers` does, but for the lengths."""
    size = AT_ONCE // SAMPLES * TURNS_OF_A_BATCH
    for start in range(0, len(prompts), size):
        asked = [
            PromptRows(prompts[place], [SampledRow(place, k, limit) for k, limit in enumerate(lengths[place])])
            for place in range(start, min(start + size, len(prompts)))
        ]
        with laid_out(model):
            reader = reader_of(model, Decoding(), model.device, shared=common_prefix(asked))
            draws = Draws(generation_config(), 0, lambda row: row.prompt)
            decode(reader, asked, draws, ends=(), at_once=AT_ONCE)


WAYS: dict[str, Way] = {
    "generate": generate,
    "generate, prompts read once": lambda *case: generate(*case, once=True),
    "sparring": ours,
}


@torch.no_grad()
def ratios(model: Any, prompts: Prompts, turns: int) -> dict[str, Any]:
    """Tokens a CPU-second of each way, and how many times those of plain `generate`, in every case."""
    numbers = random.Random(0)
    lengths = [[max(SHORTEST, round(numbers.gauss(MEAN, DEVIATION))) for _ in range(SAMPLES)] for _ in prompts]
    header = [numbers.randrange(100, model.config.vocab_size) for _ in range(max(CASES.values()))]
    found = {}
    for name, shared in CASES.items():
        case = sorted(([*header[:shared], *prompt] for prompt in prompts), key=len, reverse=True)
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        for turn in range(turns):
            for way in list(WAYS)[:: -1 if turn % 2 else 1]:
                start = time.process_time()
                WAYS[way](model, case, lengths)
                seconds[way].append(time.process_time() - start)
        plain = seconds["generate"]
        found[name] = {
            way: {
                "tokens_per_cpu_second": round(sum(map(sum, lengths)) / median(spent), 1),
                **_spread([a / b for a, b in zip(plain, spent, strict=True)], "times_generate"),
            }
            for way, spent in seconds.items()
        }
    return found


@torch.no_grad()
def steady(model: Any, prompts: Prompts, turns: int, *, steps: int = 8) -> dict[str, Any]:
    """The products of a step of 32 rows alone, as torch does them, in shares of the CPU time of the whole step."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    states = {layer.in_features: torch.randn(AT_ONCE, layer.in_features) for layer in layers}
    rows = [SampledRow(place, number, 10**6) for place in range(AT_ONCE // SAMPLES) for number in range(SAMPLES)]
    draws, shares = Draws(generation_config(), 0, lambda row: row.prompt), []
    for _ in range(turns):
        with laid_out(model):
            reader = reader_of(model, Decoding(), model.device)
            logits = reader.join(prompts[: AT_ONCE // SAMPLES], [SAMPLES] * (AT_ONCE // SAMPLES))
            start = time.process_time()
            for _ in range(steps):
                logits = reader.step(draws(rows, logits))
            whole = time.process_time() - start
        start = time.process_time()
        for _ in range(steps):
            for layer in layers:
                nn.functional.linear(states[layer.in_features], layer.weight)
        shares.append((time.process_time() - start) / whole)
    return _spread(shares, "products_over_step")


def _spread(values: Sequence[float], name: str) -> dict[str, Any]:
    return {name: round(median(values), 2), f"{name}_range": [round(min(values), 2), round(max(values), 2)]}
