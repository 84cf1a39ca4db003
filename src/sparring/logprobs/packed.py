"""Sequences as packed rows: trees in which tokens that sequences have in common from the start are one, no padding.

A prompt is one for all its responses, what all prompts begin with is one for all prompts, and what some responses to a
prompt begin with is one for these. A causal model computes the same for each of such tokens, so it computes it once.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sparring.logprobs.attention import layout_tensor
from sparring.logprobs.decoder import decoder_of, plain_options
from sparring.logprobs.ranges import Segment
from sparring.logprobs.readouts import OWN, Readout
from sparring.logprobs.wrappers import in_passes

Ids = Sequence[int]


def packed_log_probs(
    model: Any, prompts: Sequence[Ids], responses: Sequence[Sequence[Ids]], max_tokens: int, readout: Readout = OWN
) -> list[Tensor]:
    """What is read at each token, `[T, …]` nats, for each response of each prompt in turn.

    Args:
        model: The causal language model, bare or wrapped; bare, it was prepared by `use_packed_attention`.
        prompts: `B` prompts as token ids.
        responses: `responses[b][k]`.
        max_tokens: Positions in one forward pass; a prompt with one response may exceed it.
        readout: What is read; the log-prob of the token itself by default.
    """
    rows = list(_rows(prompts, responses, max_tokens))
    return [values for read in in_passes(model, rows, partial(_score, readout=readout)) for values in read]


class _Row:
    """A row of T positions in which N response tokens are predicted.

    Attributes:
        ids: `[T]` token ids.
        depths: `[T]` place of each token in its sequences.
        segments: What attends to what.
        predictors: `[N]` positions of which the hidden state predicts a token.
        targets: `[N]` these tokens.
        numbers: Which of these predictions each token of the responses is, response by response.
        lengths: Of each response, in tokens.
        first: The place of the first of these responses among all responses of the call.
    """

    def __init__(self, first: int) -> None:
        self.first = first
        # Arrays become tensors as they are; lists would be gone through number by number, while a GPU waits.
        self.ids, self.depths = array("q"), array("q")
        self.segments: list[Segment] = []
        self.predictors, self.targets, self.numbers = array("q"), array("q"), array("q")
        self.lengths: list[int] = []
        self._predictions: dict[tuple[int, int], int] = {}
        # The position of each token by the position that it follows.
        self._following: dict[tuple[int, int], int] = {}

    def add(self, prompt: Ids, responses: Sequence[Ids]) -> None:
        """Lays out a prompt with responses to it."""
        end = self._place(-1, prompt)[-1]
        for response in responses:
            # The last token of a response is predicted, and predicts nothing: it has no position.
            predictors = [end, *self._place(end, response[:-1])]
            for predictor, target in zip(predictors, response, strict=True):
                number = self._predictions.setdefault((predictor, target), len(self.targets))
                if number == len(self.targets):
                    self.predictors.append(predictor)
                    self.targets.append(target)
                self.numbers.append(number)
            self.lengths.append(len(response))

    def missing(self, prompt: Ids, responses: Sequence[Ids]) -> int:
        """How many positions `add` makes at most: fewer where responses have a beginning in common."""
        after, shared = -1, 0
        for token in prompt:
            if (after, token) not in self._following:
                break
            after = self._following[after, token]
            shared += 1
        return _size(prompt, responses) - shared

    def _place(self, after: int, tokens: Ids) -> list[int]:
        """The positions of tokens that follow the one at `after`; where there are none yet, they are made."""
        places = []
        for token in tokens:
            place = self._following.setdefault((after, token), len(self.ids))
            if place == len(self.ids):
                self._append(after, token)
            places.append(place)
            after = place
        return places

    def _append(self, after: int, token: int) -> None:
        place = len(self.ids)
        if 0 <= after == place - 1:
            first, start, _ = self.segments[-1]
            self.segments[-1] = (first, start, place + 1)
        else:
            self.segments.append((after, place, place + 1))
        self.ids.append(token)
        self.depths.append(self.depths[after] + 1 if after >= 0 else 0)


def _size(prompt: Ids, responses: Sequence[Ids]) -> int:
    return len(prompt) + sum(len(response) - 1 for response in responses)


def _rows(prompts: Sequence[Ids], responses: Sequence[Sequence[Ids]], max_tokens: int) -> Iterator[_Row]:
    """Prompts in their order, as many to a row as the budget holds."""
    row = _Row(first=0)
    for prompt, answers in zip(prompts, responses, strict=True):
        for part in _parts(prompt, answers, max_tokens):
            if row.ids and len(row.ids) + row.missing(prompt, part) > max_tokens:
                yield row
                row = _Row(first=row.first + len(row.lengths))
            row.add(prompt, part)
    if row.ids:
        yield row


def _parts(prompt: Ids, responses: Sequence[Ids], max_tokens: int) -> Iterator[list[Ids]]:
    """All responses to a prompt, or several parts where they exceed the budget."""
    part: list[Ids] = []
    for response in responses:
        if part and _size(prompt, [*part, response]) > max_tokens:
            yield part
            part = []
        part.append(response)
    if part:
        yield part


def _score(model: Any, row: _Row, readout: Readout) -> list[Tensor]:
    device = model.get_input_embeddings().weight.device
    decoder = decoder_of(model)
    hidden = decoder(
        input_ids=_tensor(row.ids, device)[None],
        position_ids=_tensor(row.depths, device)[None],
        attention_mask=layout_tensor(row.segments),
        **plain_options(decoder),
    ).last_hidden_state[0]
    predictors, targets, numbers = (_tensor(each, device) for each in (row.predictors, row.targets, row.numbers))
    places = range(row.first, row.first + len(row.lengths))
    # By `index_select`, whose gradient adds up in a fixed order on a CPU.
    if readout.alike:
        values = readout.of_hidden(model, hidden.index_select(0, predictors), targets, places)
        values = values.index_select(0, numbers)
    else:
        values = readout.of_hidden(model, hidden.index_select(0, predictors[numbers]), targets[numbers], places)
    return [*values.split(row.lengths)]


def _tensor(numbers: array[int], device: torch.device) -> Tensor:
    return torch.frombuffer(numbers, dtype=torch.long).to(device)
