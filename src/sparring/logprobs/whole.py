"""Sequences one at a time by the model's own forward pass: for heads of which nothing is known."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from sparring.logprobs.decoder import own_logits
from sparring.logprobs.readouts import OWN, Readout
from sparring.logprobs.wrappers import in_passes

# Models that are scored at another temperature than 1, for the time being.
TEMPERATURES: WeakKeyDictionary[Any, float] = WeakKeyDictionary()


def whole_log_probs(
    model: Any,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[Sequence[int]]],
    _max_tokens: int,
    readout: Readout = OWN,
) -> list[Tensor]:
    """What is read at each token, `[T, …]` nats, for each response of each prompt in turn.

    It holds the logits of a whole sequence at once; a forward pass has one sequence, so a budget has no effect.

    Args:
        model: The causal language model, bare or wrapped.
        prompts: `B` prompts as token ids.
        responses: `responses[b][k]`.
        readout: What is read; the log-prob of the token itself by default.
    """
    pairs = [(prompt, answer) for prompt, answers in zip(prompts, responses, strict=True) for answer in answers]
    rows = [(number, prompt, answer) for number, (prompt, answer) in enumerate(pairs)]
    return [values[0] for values in in_passes(model, rows, partial(_score, readout=readout))] if rows else []


def _score(model: Any, row: tuple[int, Sequence[int], Sequence[int]], readout: Readout) -> list[Tensor]:
    number, prompt, response = row
    device = model.get_input_embeddings().weight.device
    logits = own_logits(model, [*prompt, *response], device)[len(prompt) - 1 : -1]
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) / TEMPERATURES.get(model, 1.0)
    return [readout.of_logits(logits, torch.tensor(list(response), device=logits.device), [number])]
