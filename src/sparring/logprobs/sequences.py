"""The one entry: which layout a model can take, and the log-probs of sequences by it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from sparring.logprobs.attention import UnsupportedAttentionError, counting_layers, use_packed_attention
from sparring.logprobs.packed import packed_log_probs
from sparring.logprobs.padded import padded_log_probs
from sparring.logprobs.wrappers import computes_in_16_bits, forward_through, unwrap

_log = logging.getLogger(__name__)

MAX_TOKENS = 8192
"""Positions in one forward pass, unless somebody says otherwise."""

# Prompts and responses of several lengths, so that a layout that leaks from one to another shows.
_PROMPTS = ((3, 4, 5, 6, 7, 8), (9, 10))
_RESPONSES = (((11, 12, 13), (14, 15, 16, 17), (18,)), ((12, 11),))


def _probe(model: Any) -> tuple[list[list[int]], list[list[list[int]]]]:
    size = model.config.get_text_config().vocab_size
    prompts = [[token % size for token in prompt] for prompt in _PROMPTS]
    return prompts, [[[token % size for token in answer] for answer in answers] for answers in _RESPONSES]


_packs: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def sequence_log_probs(
    model: Any,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[Sequence[int]]],
    *,
    max_tokens: int = MAX_TOKENS,
) -> list[Tensor]:
    """Log π(y_k|x), summed over the response tokens, for every prompt and each of its responses.

    Differentiable. Rows are packed, a prompt is computed once for all its responses, and only response positions
    reach the head. A model whose layers cannot keep the sequences of a row apart (recurrent ones, say) is scored in
    padded rows instead; the log says so.

    Args:
        model: A causal language model of transformers, bare, or wrapped by peft or by a data-parallel wrapper.
        prompts: `B` prompts as token ids, none empty.
        responses: `responses[b][k]`: the token ids of response k to prompt b, none empty; K may differ by prompt.
        max_tokens: Positions in one forward pass.

    Returns:
        `B` tensors `[K_b]`, nats, in fp32 or the model's dtype if that is wider.

    Raises:
        ValueError: A prompt or response is empty, or the two lists differ in length.
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
        For each prompt and each of its responses a tensor `[T_bk]`, nats, whose `sum()` is the sequence's log-prob.
    """
    _check(prompts, responses)
    score = packed_log_probs if packs(model) else padded_log_probs
    parts = iter(score(model, prompts, responses, max_tokens))
    return [[next(parts) for _ in answers] for answers in responses]


def packs(model: Any) -> bool:
    """Whether a model, bare or wrapped, reads packed rows; found out on a short probe, once for each model object.

    Every decoder layer must attend through transformers' attention interface, and packed and padded rows must give
    the same log-probs.
    """
    core = unwrap(model)
    if core not in _packs:
        with torch.no_grad():
            problem = forward_through(model, _problem)
        _packs[core] = problem is None
        if problem is not None:
            _log.warning("%s is scored in padded rows, which is slower: %s", type(core).__name__, problem)
    return _packs[core]


def _problem(model: Any) -> str | None:
    was_training = model.training
    model.eval()
    try:
        use_packed_attention(model)
        with counting_layers() as layers:
            packed = torch.cat(packed_log_probs(model, *_probe(model), MAX_TOKENS))
        padded = torch.cat(padded_log_probs(model, *_probe(model), MAX_TOKENS))
    except UnsupportedAttentionError as error:
        return str(error)
    except (RuntimeError, ValueError, TypeError, LookupError) as error:
        # Some architectures compute with the mask before they attend.
        return f"{type(error).__name__} on a packed row: {error}"
    finally:
        model.train(was_training)
    expected = model.config.get_text_config().num_hidden_layers
    if len(layers) != expected:
        return f"{len(layers)} of its {expected} layers attend through transformers' attention interface"
    # In 16 bits a logit of 10 is rounded to 0.03.
    tolerance = 0.25 if computes_in_16_bits(model) else 1e-4 * max(1.0, float(padded.abs().max()))
    if not torch.allclose(packed, padded, rtol=0.0, atol=tolerance):
        return f"a probe differs by {float((packed - padded).abs().max()):.2g} nats from padded rows"
    return None


def _check(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[Sequence[int]]]) -> None:
    if len(prompts) != len(responses):
        raise ValueError(f"{len(prompts)} prompts but responses to {len(responses)}")
    for b, (prompt, answers) in enumerate(zip(prompts, responses, strict=True)):
        if len(prompt) == 0:
            raise ValueError(f"prompt {b} is empty: the first response token needs a token before it")
        for k, answer in enumerate(answers):
            if len(answer) == 0:
                raise ValueError(f"response {k} to prompt {b} is empty: it has no log-prob")
