"""Sequences as packed rows: trees, in which sequences with a common beginning share its tokens; without padding.

A causal model computes the same at a token that comes after the same tokens, so it is computed once: a prompt for all
its responses, the beginning of several responses for all of them, the beginning of all prompts for all prompts.

The prompt `a b` with the responses `c d e` and `c f g` makes this row. The last token of a response is predicted but
predicts nothing, so it has no position:

    position    0  1  2  3  4
    ids         a  b  c  d  f
    depths      0  1  2  3  3       place in its sequence, which becomes the position id
    segments    (-1, 0, 4) (2, 4, 5)    positions 0 to 3 begin a sequence; position 4 continues it after position 2

    predictors  1  2  3  2  4       positions that predict a token, each pair of predictor and target once
    targets     c  d  e  f  g
    prediction_of   0 1 2  0 3 4    for each token of each response, its number in `targets`
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sparring.logprobs.attention import segment_tensor
from sparring.logprobs.decoder import decoder_of, plain_options
from sparring.logprobs.ranges import Segment
from sparring.logprobs.readouts import OWN, Readout
from sparring.logprobs.wrappers import in_passes

Ids = Sequence[int]


def packed_log_probs(
    model: Any, prompts: Sequence[Ids], responses: Sequence[Sequence[Ids]], max_tokens: int, readout: Readout = OWN
) -> list[Tensor]:
    """The readout at each token, `[T, …]`, of each response of each prompt in turn.

    Args:
        model: The causal language model, bare or wrapped; bare, it was prepared by `use_packed_attention`.
        prompts: `B` prompts as token ids.
        responses: `responses[b][k]`.
        max_tokens: Positions in one forward pass; a prompt with one response may exceed it.
        readout: What is read of a token; its log-prob by default.
    """
    rows = list(_rows(prompts, responses, max_tokens))
    return [values for of_row in in_passes(model, rows, partial(_score, readout=readout)) for values in of_row]


class _Row:
    """A packed row of T positions that predict N different response tokens; see the module for an example.

    Attributes:
        ids: `[T]` token ids.
        depths: `[T]` places of the tokens in their sequences.
        segments: The segments, in the order of the row.
        predictors: `[N]` positions whose hidden states predict a token.
        targets: `[N]` the tokens that they predict.
        prediction_of: For each token of each response in turn, its number among the N predictions.
        lengths: The length of each response.
        first: The number of the row's first response among all responses of the call.
    """

    def __init__(self, first: int) -> None:
        self.first = first
        # Arrays become tensors as a whole; lists would be converted number by number, while a GPU waits.
        self.ids, self.depths = array("q"), array("q")
        self.segments: list[Segment] = []
        self.predictors, self.targets, self.prediction_of = array("q"), array("q"), array("q")
        self.lengths: list[int] = []
        # The number of each prediction, by its predictor and target.
        self._predictions: dict[tuple[int, int], int] = {}
        # The position of each token, by the position that it follows and its id.
        self._positions: dict[tuple[int, int], int] = {}

    def add(self, prompt: Ids, responses: Sequence[Ids]) -> None:
        """Adds a prompt with responses to it."""
        end = self._insert(-1, prompt)[-1]
        for response in responses:
            predictors = [end, *self._insert(end, response[:-1])]
            for predictor, target in zip(predictors, response, strict=True):
                number = self._predictions.setdefault((predictor, target), len(self.targets))
                if number == len(self.targets):
                    self.predictors.append(predictor)
                    self.targets.append(target)
                self.prediction_of.append(number)
            self.lengths.append(len(response))

    def growth(self, prompt: Ids, responses: Sequence[Ids]) -> int:
        """The most positions that `add` would make; it makes fewer where responses have a common beginning."""
        after, shared = -1, 0
        for token in prompt:
            if (after, token) not in self._positions:
                break
            after = self._positions[after, token]
            shared += 1
        return _size(prompt, responses) - shared

    def _insert(self, after: int, tokens: Ids) -> list[int]:
        """The positions of tokens that follow the one at `after`; missing ones are appended to the row."""
        positions = []
        for token in tokens:
            position = self._positions.setdefault((after, token), len(self.ids))
            if position == len(self.ids):
                self._append(after, token)
            positions.append(position)
            after = position
        return positions

    def _append(self, after: int, token: int) -> None:
        """Appends a token that follows the one at `after`: to the last segment if it comes next, else in a new one."""
        position = len(self.ids)
        if 0 <= after == position - 1:
            first, start, _ = self.segments[-1]
            self.segments[-1] = (first, start, position + 1)
        else:
            self.segments.append((after, position, position + 1))
        self.ids.append(token)
        self.depths.append(self.depths[after] + 1 if after >= 0 else 0)


def _size(prompt: Ids, responses: Sequence[Ids]) -> int:
    """The positions of a prompt and responses without a common beginning."""
    return len(prompt) + sum(len(response) - 1 for response in responses)


def _rows(prompts: Sequence[Ids], responses: Sequence[Sequence[Ids]], max_tokens: int) -> Iterator[_Row]:
    """Rows with the prompts in their order, each row as many as `max_tokens` positions hold."""
    row = _Row(first=0)
    for prompt, answers in zip(prompts, responses, strict=True):
        for part in _parts(prompt, answers, max_tokens):
            if row.ids and len(row.ids) + row.growth(prompt, part) > max_tokens:
                yield row
                row = _Row(first=row.first + len(row.lengths))
            row.add(prompt, part)
    if row.ids:
        yield row


def _parts(prompt: Ids, responses: Sequence[Ids], max_tokens: int) -> Iterator[list[Ids]]:
    """The responses to a prompt, split where they exceed `max_tokens` positions together with the prompt."""
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
        attention_mask=segment_tensor(row.segments),
        **plain_options(decoder),
    ).last_hidden_state[0]
    arrays = (row.predictors, row.targets, row.prediction_of)
    predictors, targets, prediction_of = (_tensor(each, device) for each in arrays)
    numbers = range(row.first, row.first + len(row.lengths))
    if not readout.alike:
        predictors, targets = predictors[prediction_of], targets[prediction_of]
    # By `index_select`, whose gradient adds up in a fixed order on a CPU.
    values = readout.of_hidden(model, hidden.index_select(0, predictors), targets, numbers)
    if readout.alike:
        values = values.index_select(0, prediction_of)
    return [*values.split(row.lengths)]


def _tensor(numbers: array[int], device: torch.device) -> Tensor:
    return torch.frombuffer(numbers, dtype=torch.long).to(device)
