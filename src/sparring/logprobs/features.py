"""Features of responses: what a model's hidden states say of them, in one vector each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sparring.errors import InputError
from sparring.logprobs.decoder import UnknownDecoderError
from sparring.logprobs.layout import MAX_TOKENS, SCORES, layout_of
from sparring.logprobs.readouts import States


def response_features(
    model: Any,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[Sequence[int]]],
    *,
    max_tokens: int = MAX_TOKENS,
) -> list[list[Tensor]]:
    """φ(x, y) of each response: the mean over its tokens of the last hidden state, and that of its last token.

    Args:
        model: As `sequence_log_probs` takes it.
        prompts: `B` prompts as token ids, none empty.
        responses: `responses[b][k]`, none empty.
        max_tokens: Positions in one forward pass.

    Returns:
        For each prompt and each of its responses a tensor `[2d]`, in fp32.

    Raises:
        InputError: The model has no part that gives hidden states.
    """
    # A row ends before the last token that it predicts, so what follows a response is taken to be that token again.
    longer = [[[*answer, answer[-1]] for answer in answers] for answers in responses]
    layout = layout_of(model).rows
    try:
        # Of a head of which nothing is known no use is made here.
        states = SCORES["single" if layout == "whole" else layout](model, prompts, longer, max_tokens, States())
    except UnknownDecoderError as error:
        problem, fix = f"{error}, which a reward is learnt from", "take another judge, or another model"
        raise InputError(problem, where="model.name", fix=fix) from error
    parts = iter(states)
    return [[_features(next(parts)) for _ in answers] for answers in responses]


def _features(states: Tensor) -> Tensor:
    # The first is that of the prompt's last token.
    own = states[1:].float()
    return torch.cat([own.mean(dim=0), own[-1]])
