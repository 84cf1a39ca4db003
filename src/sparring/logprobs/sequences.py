"""Log-probs of sequences, by the fastest layout that a model can take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sparring.logprobs.layout import SCORES, layout_of, positions_at_once
from sparring.logprobs.readouts import OWN, At, Likeliest, Readout
from sparring.logprobs.wrappers import unwrap
from sparring.tokens import LikelyTokens


def sequence_log_probs(
    model: Any,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[Sequence[int]]],
    *,
    max_tokens: int | None = None,
) -> list[Tensor]:
    """Log π(y_k|x), summed over the response tokens, for every prompt and each of its responses.

    Differentiable. Rows are packed, a beginning that several sequences share is computed once, and only positions that
    predict a response token reach the head. A model whose layers cannot keep the sequences of a row apart (a recurrent
    one, say) is scored in a slower layout, which `layout_of` has proved; a warning says so.

    Under dropout, equal responses to a prompt are scored once, so their log-probs are equal. Each log-prob has the
    distribution that it would have alone.

    Args:
        model: A causal language model of transformers, bare, or wrapped by peft or by a data-parallel wrapper.
        prompts: `B` prompts as token ids, none empty.
        responses: `responses[b][k]`: the token ids of response k to prompt b, none empty; K may differ by prompt.
        max_tokens: Positions in one forward pass; by default 8,192, on a processor without a gradient 2,048.

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
    max_tokens: int | None = None,
) -> list[list[Tensor]]:
    """The terms of `sequence_log_probs`: log π of each response token given what precedes it.

    Takes and raises what `sequence_log_probs` does.

    Returns:
        For each prompt and each of its responses a tensor `[T_bk]`, nats, whose `sum()` is the sequence's log-prob;
        equal responses to a prompt have one tensor.
    """
    return _read(model, prompts, responses, max_tokens, readout=OWN, firsts=_firsts(responses))


@torch.no_grad()
def likely_tokens(
    model: Any,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[Sequence[int]]],
    *,
    count: int,
    vocabulary: int,
    max_tokens: int | None = None,
) -> list[list[LikelyTokens]]:
    """The likeliest next tokens at each token of each response.

    Raises what `sequence_log_probs` does.

    Args:
        model: See `sequence_log_probs`.
        prompts: See `sequence_log_probs`.
        responses: See `sequence_log_probs`.
        count: The number of tokens; fewer than the vocabulary has.
        vocabulary: The likeliest are sought among the token ids below this number, since another model may have fewer.
        max_tokens: See `sequence_log_probs`.
    """
    likeliest = Likeliest(count, vocabulary)
    found = _read(model, prompts, responses, max_tokens, readout=likeliest, firsts=_firsts(responses))
    return [
        [LikelyTokens(ids=each[:, :count].long(), log_probs=each[:, count:]) for each in answers] for answers in found
    ]


def log_probs_at(
    model: Any,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[Sequence[int]]],
    ids: Sequence[Sequence[Tensor]],
    *,
    max_tokens: int | None = None,
) -> list[list[tuple[Tensor, Tensor]]]:
    """The log-prob of each response token, and of n given tokens in its place.

    Differentiable; raises what `sequence_log_probs` does.

    Args:
        model: See `sequence_log_probs`.
        prompts: See `sequence_log_probs`.
        responses: See `sequence_log_probs`.
        ids: For each response, `[T, n]` token ids, all different at each place; n is the same for all responses.
        max_tokens: See `sequence_log_probs`.

    Returns:
        For each response, `[T]` log-probs as from `per_token_log_probs`, and `[T, n + 1]`: of each of the n tokens, and
        of all tokens but these n together.
    """
    firsts = _firsts(responses, ids)
    wanted = [of_prompt[k] for of_prompt, first in zip(ids, firsts, strict=True) for k in dict.fromkeys(first)]
    read = _read(model, prompts, responses, max_tokens, readout=At(wanted), firsts=firsts)
    return [[(each[:, 0], each[:, 1:]) for each in answers] for answers in read]


def _firsts(
    responses: Sequence[Sequence[Sequence[int]]], ids: Sequence[Sequence[Tensor]] | None = None
) -> list[list[int]]:
    """For each response, the number of the first response to its prompt that equals it (in its `ids` too)."""
    firsts = []
    for b, answers in enumerate(responses):
        seen: dict[object, int] = {}
        asked = [b""] * len(answers) if ids is None else [each.numpy(force=True).tobytes() for each in ids[b]]
        keys = zip(map(tuple, answers), asked, strict=True)
        firsts.append([seen.setdefault(key, k) for k, key in enumerate(keys)])
    return firsts


def _read(
    model: Any,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[Sequence[int]]],
    max_tokens: int | None,
    *,
    readout: Readout,
    firsts: Sequence[Sequence[int]],
) -> list[list[Tensor]]:
    """The readout of every response; of equal responses only the first (`firsts`) goes through the model."""
    _check(prompts, responses)
    read = SCORES[layout_of(model).rows]
    distinct = [list(dict.fromkeys(first)) for first in firsts]
    rows = [[answers[k] for k in places] for answers, places in zip(responses, distinct, strict=True)]
    parts = iter(read(model, prompts, rows, max_tokens or positions_at_once(model), readout))
    found = [{k: next(parts) for k in places} for places in distinct]
    return [[of_prompt[k] for k in first] for of_prompt, first in zip(found, firsts, strict=True)]


def _check(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[Sequence[int]]]) -> None:
    if len(prompts) != len(responses):
        raise ValueError(f"{len(prompts)} prompts but responses to {len(responses)}")
    for b, (prompt, answers) in enumerate(zip(prompts, responses, strict=True)):
        if len(prompt) == 0:
            raise ValueError(f"prompt {b} is empty: the first response token needs a token before it")
        for k, answer in enumerate(answers):
            if len(answer) == 0:
                raise ValueError(f"response {k} to prompt {b} is empty: it has no log-prob")
