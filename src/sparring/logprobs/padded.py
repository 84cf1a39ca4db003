"""Sequences as rows `[prompt | response]`, in right-padded batches or one by one, where packed rows cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sparring.logprobs.decoder import decoder_of, plain_options
from sparring.logprobs.readouts import OWN, Readout
from sparring.logprobs.wrappers import in_passes


@dataclass(frozen=True)
class _Row:
    number: int
    prompt: Sequence[int]
    response: Sequence[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.response)


def padded_log_probs(
    model: Any,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[Sequence[int]]],
    max_tokens: int,
    readout: Readout = OWN,
) -> list[Tensor]:
    """The readout at each token, `[T, …]`, of each response of each prompt in turn.

    Padding is masked by length, never by a token id, so padding with the end-of-sequence token does no harm.

    Args:
        model: The causal language model, bare or wrapped.
        prompts: `B` prompts as token ids.
        responses: `responses[b][k]`.
        max_tokens: Padded positions in one forward pass; a single row may exceed it.
        readout: What is read of a token; its log-prob by default.
    """
    return _in_batches(model, _rows(prompts, responses), max_tokens, readout)


def single_log_probs(
    model: Any,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[Sequence[int]]],
    _max_tokens: int,
    readout: Readout = OWN,
) -> list[Tensor]:
    """`padded_log_probs` with one row in each forward pass, so without padding; `_max_tokens` has no effect."""
    return _in_batches(model, _rows(prompts, responses), 1, readout)


def _rows(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[Sequence[int]]]) -> list[_Row]:
    pairs = [(prompt, answer) for prompt, answers in zip(prompts, responses, strict=True) for answer in answers]
    return [_Row(number, prompt, answer) for number, (prompt, answer) in enumerate(pairs)]


def _in_batches(model: Any, rows: list[_Row], max_tokens: int, readout: Readout) -> list[Tensor]:
    scored: list[Tensor] = [torch.empty(0)] * len(rows)
    batches = list(_batches(rows, max_tokens))
    passes = in_passes(model, [[rows[i] for i in indices] for indices in batches], partial(_score, readout=readout))
    for indices, values in zip(batches, passes, strict=True):
        for index, value in zip(indices, values, strict=True):
            scored[index] = value
    return scored


def _batches(rows: list[_Row], max_tokens: int) -> Iterator[list[int]]:
    """Indices of the rows of each batch, longest first; rows × longest row stays within `max_tokens`."""
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    start = 0
    while start < len(order):
        size = max(1, max_tokens // len(rows[order[start]]))
        yield order[start : start + size]
        start += size


def _score(model: Any, rows: list[_Row], readout: Readout) -> list[Tensor]:
    device = model.get_input_embeddings().weight.device
    longest = max(map(len, rows))
    # The positions that predict a response token: the last of the prompt up to the last but one of the response. They
    # are found on the CPU, since indexing by a mask on an accelerator waits until it has counted them.
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    predicts = torch.zeros_like(ids, dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor([*row.prompt, *row.response])
        mask[i, : len(row)] = 1
        predicts[i, len(row.prompt) - 1 : len(row) - 1] = True
    targets, places = ids.roll(-1, dims=1)[predicts].to(device), predicts.flatten().nonzero().squeeze(-1).to(device)
    decoder = decoder_of(model)
    # A single row gets no mask, as in the model's own forward pass.
    masked = {"attention_mask": mask.to(device)} if len(rows) > 1 else {}
    hidden = decoder(input_ids=ids.to(device), **masked, **plain_options(decoder)).last_hidden_state
    chosen = hidden.flatten(0, 1).index_select(0, places)
    values = readout.of_hidden(model, chosen, targets, [row.number for row in rows])
    return [*values.split([len(row.response) for row in rows])]
