"""Sequences one at a time through the model's whole forward pass, for models whose head is unknown."""

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

# The temperature of each model that is being scored at another than 1; `tempered` sets it.
TEMPERATURES: WeakKeyDictionary[Any, float] = WeakKeyDictionary()


def whole_log_probs(
    model: Any,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[Sequence[int]]],
    _max_tokens: int,
    readout: Readout = OWN,
) -> list[Tensor]:
    """The readout at each token, `[T, …]`, of each response of each prompt in turn.

    The logits of a whole sequence are held at once. Each forward pass has one sequence, so `_max_tokens` has no effect.

    Args:
        model: The causal language model, bare or wrapped.
        prompts: `B` prompts as token ids.
        responses: `responses[b][k]`.
        readout: What is read of a token; its log-prob by default.
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
