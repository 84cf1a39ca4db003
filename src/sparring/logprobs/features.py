"""Features of responses: what a model's hidden states say of them, in one vector each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sparring.errors import InputError
from sparring.logprobs.decoder import UnknownDecoderError
from sparring.logprobs.head import Read
from sparring.logprobs.layout import MAX_TOKENS, Rows, layout_of
from sparring.logprobs.packed import packed
from sparring.logprobs.padded import padded, single

_Pass = Callable[[Any, Sequence[Sequence[int]], Sequence[Sequence[Sequence[int]]], int, Read], list[Tensor]]
# Of a head of which nothing is known no use is made here.
_PASSES: dict[Rows, _Pass] = {"packed": packed, "padded": padded, "single": single, "whole": single}


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
    try:
        parts = iter(_PASSES[layout_of(model).rows](model, prompts, longer, max_tokens, _read_features))
    except UnknownDecoderError as error:
        problem, fix = f"{error}, which a reward is learnt from", "take another judge, or another model"
        raise InputError(problem, where="model.name", fix=fix) from error
    return [[next(parts) for _ in answers] for answers in responses]


def _read_features(_model: Any, hidden: Tensor, _targets: Tensor, lengths: Sequence[int]) -> Sequence[Tensor]:
    # The first state of each is that of the prompt's last token.
    states = [part[1:].float() for part in hidden.split([*lengths])]
    return [torch.cat([part.mean(dim=0), part[-1]]) for part in states]
