"""The one entry: which layout a model can take, and the log-probs of sequences by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sparring.logprobs.layout import MAX_TOKENS, SCORES, layout_of
from sparring.logprobs.wrappers import unwrap


def sequence_log_probs(
    model: Any,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[Sequence[int]]],
    *,
    max_tokens: int = MAX_TOKENS,
) -> list[Tensor]:
    """Log π(y_k|x), summed over the response tokens, for every prompt and each of its responses.

    Differentiable. Rows are packed, what sequences have in common from the start is computed once, and only response
    positions reach the head. A model whose layers cannot keep the sequences of a row apart (recurrent ones, say) is
    scored in a slower layout instead, which `layout_of` has proved; the log says so.

    Under dropout, equal responses to a prompt have equal log-probs: one draw of the network scores them. Each log-prob
    has the law that it would have alone.

    Args:
        model: A causal language model of transformers, bare, or wrapped by peft or by a data-parallel wrapper.
        prompts: `B` prompts as token ids, none empty.
        responses: `responses[b][k]`: the token ids of response k to prompt b, none empty; K may differ by prompt.
        max_tokens: Positions in one forward pass.

    Returns:
        `B` tensors `[K_b]`, nats, in fp32 or the model's dtype if that is wider.

    Raises:
        ValueError: A prompt or response is empty, or the two lists differ in length.
        InputError: The model cannot be scored in any layout.
    """
    scored = per_token_log_probs(model, prompts, responses, max_tokens=max_tokens)
    nothing = torch.empty(0, device=unwrap(model).get_output_embeddings().weight.device)
    return [torch.stack([tokens.sum() for tokens in answers]) if answers else nothing for answers in scored]


def per_token_log_probs(
    model: Any,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[Sequence[int]]],
    *,
    max_tokens: int = MAX_TOKENS,
) -> list[list[Tensor]]:
    """The terms of `sequence_log_probs`: log π of each response token given what precedes it.

    Takes and raises what `sequence_log_probs` does.

    Returns:
        For each prompt and each of its responses a tensor `[T_bk]`, nats, whose `sum()` is the sequence's log-prob;
        equal responses to a prompt have one tensor.
    """
    _check(prompts, responses)
    score = SCORES[layout_of(model).rows]
    distinct = [dict.fromkeys(map(tuple, answers)) for answers in responses]
    parts = iter(score(model, prompts, [[*answers] for answers in distinct], max_tokens))
    scored = [{answer: next(parts) for answer in answers} for answers in distinct]
    return [[of[tuple(answer)] for answer in answers] for of, answers in zip(scored, responses, strict=True)]


def _check(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[Sequence[int]]]) -> None:
    if len(prompts) != len(responses):
        raise ValueError(f"{len(prompts)} prompts but responses to {len(responses)}")
    for b, (prompt, answers) in enumerate(zip(prompts, responses, strict=True)):
        if len(prompt) == 0:
            raise ValueError(f"prompt {b} is empty: the first response token needs a token before it")
        for k, answer in enumerate(answers):
            if len(answer) == 0:
                raise ValueError(f"response {k} to prompt {b} is empty: it has no log-prob")
