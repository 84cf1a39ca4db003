"""Sequences as packed rows `[prompt | y_1 | … | y_K | prompt | …]`: each prompt once, no padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sparring.logprobs.attention import Segment, layout_tensor
from sparring.logprobs.decoder import decoder_of, plain_options
from sparring.logprobs.readings import OWN, Reading
from sparring.logprobs.wrappers import in_passes

# A response and its place among all of them.
Numbered = tuple[int, Sequence[int]]


@dataclass(frozen=True)
class _Group:
    """A prompt and the responses that share it."""

    prompt: Sequence[int]
    responses: Sequence[Numbered]

    @property
    def size(self) -> int:
        """Positions in a row. The last token of a response is predicted, and predicts nothing: it has none."""
        return len(self.prompt) + sum(len(response) - 1 for _, response in self.responses)


def packed_log_probs(
    model: Any,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[Sequence[int]]],
    max_tokens: int,
    reading: Reading = OWN,
) -> list[Tensor]:
    """What is read at each token, `[T, …]` nats, for each response of each prompt in turn.

    Args:
        model: The causal language model, bare or wrapped; bare, it was prepared by `use_packed_attention`.
        prompts: `B` prompts as token ids.
        responses: `responses[b][k]`.
        max_tokens: Positions in one forward pass; a prompt with one response may exceed it.
        reading: What is read; the log-prob of the token itself by default.
    """
    scored: list[Tensor] = [torch.empty(0)] * sum(map(len, responses))
    rows = list(_rows(prompts, responses, max_tokens))
    for row, values in zip(rows, in_passes(model, rows, partial(_score, reading=reading)), strict=True):
        for number, value in zip(_numbers(row), values, strict=True):
            scored[number] = value
    return scored


def _rows(
    prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[Sequence[int]]], max_tokens: int
) -> Iterator[list[_Group]]:
    """Groups in their order, as many to a row as the budget holds."""
    row: list[_Group] = []
    used = 0
    for group in _groups(prompts, responses, max_tokens):
        if row and used + group.size > max_tokens:
            yield row
            row, used = [], 0
        row.append(group)
        used += group.size
    if row:
        yield row


def _groups(
    prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[Sequence[int]]], max_tokens: int
) -> Iterator[_Group]:
    """A group a prompt, or several where its responses exceed the budget."""
    number = 0
    for prompt, answers in zip(prompts, responses, strict=True):
        part: list[Numbered] = []
        for answer in answers:
            if part and _Group(prompt, [*part, (number, answer)]).size > max_tokens:
                yield _Group(prompt, part)
                part = []
            part.append((number, answer))
            number += 1
        if part:
            yield _Group(prompt, part)


@dataclass(frozen=True)
class _Row:
    """A row of T positions in which N response tokens are predicted.

    Attributes:
        ids: `[T]` token ids.
        positions: `[T]` place of each token in its own sequence: a response goes on where the prompt ended.
        segments: What attends to what.
        predictors: `[N]` positions whose hidden state predicts a response token.
        targets: `[N]` these tokens.
        lengths: Response tokens of each response.
    """

    ids: list[int]
    positions: list[int]
    segments: list[Segment]
    predictors: list[int]
    targets: list[int]
    lengths: list[int]


def _lay_out(groups: Sequence[_Group]) -> _Row:
    row = _Row([], [], [], [], [], [])
    for group in groups:
        start, stop = len(row.ids), len(row.ids) + len(group.prompt)
        row.ids.extend(group.prompt)
        row.positions.extend(range(len(group.prompt)))
        for place, (_, response) in enumerate(group.responses):
            own, fed = len(row.ids), len(response) - 1
            row.ids.extend(response[:-1])
            row.positions.extend(range(len(group.prompt), len(group.prompt) + fed))
            if place == 0:
                # The prompt and what follows it are one causal sequence.
                row.segments.append((start, start, start, own + fed))
            elif fed:
                row.segments.append((start, stop, own, own + fed))
            # The prompt's last position predicts the first token of every response.
            row.predictors.extend([stop - 1, *range(own, own + fed)])
            row.targets.extend(response)
            row.lengths.append(len(response))
    return row


def _numbers(groups: Sequence[_Group]) -> list[int]:
    return [number for group in groups for number, _ in group.responses]


def _score(model: Any, groups: Sequence[_Group], reading: Reading) -> list[Tensor]:
    row = _lay_out(groups)
    device = model.get_input_embeddings().weight.device
    decoder = decoder_of(model)
    hidden = decoder(
        input_ids=torch.tensor([row.ids], device=device),
        position_ids=torch.tensor([row.positions], device=device),
        attention_mask=layout_tensor(row.segments),
        **plain_options(decoder),
    ).last_hidden_state[0]
    predictors, targets = (torch.tensor(values, device=device) for values in (row.predictors, row.targets))
    values = reading.of_hidden(model, hidden[predictors], targets, _numbers(groups))
    return [*values.split(row.lengths)]
