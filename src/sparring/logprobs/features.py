"""Features of responses: by how much, and in which directions, a model's predictions of the tokens were off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from sparring.errors import InputError
from sparring.logprobs.layout import SCORES, layout_of, positions_at_once
from sparring.logprobs.readouts import Errors


def response_features(
    model: Any,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[Sequence[int]]],
    *,
    max_tokens: int | None = None,
) -> list[list[Tensor]]:
    """Features of each response: how far off the model's predictions were, in each direction of the hidden states.

    φ(x, y) = Σ_t |∂ log π(y_t | x, y_<t) / ∂h_t|, the absolute value being that of each component

    where h_t is the hidden state from which the head predicts y_t. For a linear head W the gradient is
    W[y_t] − Σ_v π(v) W[v], the token's embedding less the expected one, which is 0 where the token was certain. Over
    draws of the policy the gradient's mean is 0, but its size is not, and tells one response from another.

    Args:
        model: As `sequence_log_probs` takes it.
        prompts: `B` prompts as token ids, none empty.
        responses: `responses[b][k]`, none empty.
        max_tokens: As of `sequence_log_probs`.

    Returns:
        For each prompt and each of its responses a tensor `[d]`, one number a hidden dimension, in fp32.

    Raises:
        InputError: The model's head is unknown.
    """
    rows = layout_of(model).rows
    if rows == "whole":
        problem = "of this model's head nothing is known, and a reward is learnt from how it predicts"
        raise InputError(problem, where="model.name", fix="take another judge, or another model")
    parts = iter(SCORES[rows](model, prompts, responses, max_tokens or positions_at_once(model), Errors()))
    return [[next(parts).abs().sum(dim=0) for _ in answers] for answers in responses]
