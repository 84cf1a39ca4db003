"""The speed of this machine with a model, from a short calibration."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sparring.examples import EncodedExample
from sparring.logprobs import sequence_log_probs
from sparring.selfplay.arguments import run_autocast
from sparring.selfplay.engine import generator_for
from sparring.selfplay.policy import Policy
from sparring.selfplay.prepared import Prepared

# Seconds for each of generating, scoring and training; with loading, a calibration takes about ten.
_CALIBRATE_S = 3.0
BUSY = 0.8
"""If the measuring thread had a processor for a smaller share of the time, the machine counts as busy."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Tokens a second, measured on this machine with this model.

    Attributes:
        generate: Sampled tokens.
        score: Scored tokens, prompts included.
        train: Trained tokens, prompts included.
    """

    generate: float
    score: float
    train: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The speeds, and whether other programs were at work while they were measured.

    Attributes:
        rates: The speeds.
        share: The share of the time in which the measuring thread had a processor. The thread computes all the time, so
            other programs had it for the rest. None where a GPU computes, since the thread may then wait for it.
    """

    rates: Rates
    share: float | None


def _answer(item: EncodedExample) -> list[int]:
    """The expert's response, or the prompt in its place where there is none."""
    return item.expert_ids or item.prompt_ids


def _tokens(item: EncodedExample) -> int:
    return len(item.prompt_ids) + len(_answer(item))


def calibrate(prepared: Prepared) -> Calibration:
    """Loads the model; generates, scores and trains on real examples for a few seconds each."""
    config = prepared.config
    policy = Policy(config.model, prepared.tokenizer, lora=config.lora, seed=config.seed, autocast=run_autocast(config))
    by_length = sorted(prepared.train.examples, key=_tokens)
    # From the middle: neither the shortest nor the longest are typical.
    batch = by_length[len(by_length) // 2 :][:8] or by_length
    wall, computed = time.perf_counter(), time.thread_time()
    rates = Rates(
        generate=_rate(lambda: generate_once(prepared, policy, batch)),
        score=_rate(lambda: score_once(policy, batch)),
        train=_rate(lambda: train_once(policy, batch[:4])),
    )
    share = (time.thread_time() - computed) / (time.perf_counter() - wall)
    here = policy.model.device.type == "cpu" and prepared.engine is None
    return Calibration(rates=rates, share=share if here else None)


def _rate(work: Callable[[], int]) -> float:
    """Tokens a second of `work`, which returns its number of tokens; a first call that is short is not counted."""
    start = time.perf_counter()
    tokens = work()
    if time.perf_counter() - start < _CALIBRATE_S:
        start, tokens = time.perf_counter(), 0
        while tokens == 0 or time.perf_counter() - start < _CALIBRATE_S:
            tokens += work()
    return tokens / (time.perf_counter() - start)


def generate_once(prepared: Prepared, policy: Policy, batch: Sequence[EncodedExample]) -> int:
    """Samples up to 16 tokens in each of as many sequences as are decoded at once; returns the number of tokens."""
    config = prepared.config.generation
    player = generator_for(config, policy, prepared.engine, stop_ids=prepared.train.stop_ids, max_new_tokens=16)
    repeated = [batch[n % len(batch)] for n in range(config.prompts_per_batch)]
    with policy.forward_dtype():
        return sum(len(sample.response_ids) for sample in player.sample(repeated, seed=0))


def score_once(policy: Policy, batch: Sequence[EncodedExample]) -> int:
    """Scores the expert of each prompt; returns the tokens that were read."""
    policy.log_probs([item.prompt_ids for item in batch], [[_answer(item)] for item in batch])
    return sum(map(_tokens, batch))


def train_once(policy: Policy, batch: Sequence[EncodedExample]) -> int:
    """A forward and a backward pass; the optimizer's step is small beside them and is left out."""
    policy.model.train()
    with policy.forward_dtype():
        values = sequence_log_probs(policy.model, [i.prompt_ids for i in batch], [[_answer(i)] for i in batch])
    sum(value.sum() for value in values).backward()  # type: ignore[union-attr]
    policy.model.zero_grad(set_to_none=True)
    policy.model.eval()
    return sum(map(_tokens, batch))
