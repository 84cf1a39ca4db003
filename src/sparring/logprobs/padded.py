"""Sequences as right-padded rows `[prompt | response]`, sorted by length into token-budgeted batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sparring.errors import InputError
from sparring.logprobs.head import token_log_probs

_PROBE = list(range(3, 11))


@dataclass(frozen=True)
class _Row:
    prompt: Sequence[int]
    response: Sequence[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.response)


def sequence_log_probs(
    model: Any,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[Sequence[int]]],
    *,
    max_tokens: int = 8192,
) -> list[Tensor]:
    """Log π(y_k|x), summed over the response tokens, for every prompt and each of its responses.

    Differentiable. Only response positions reach the head; padding is masked by length, never by a token id, so
    a tokenizer whose pad is its end-of-sequence token is scored right.

    Args:
        model: A causal language model of transformers, bare, or wrapped by peft or by a data-parallel wrapper.
        prompts: `B` prompts as token ids, none empty.
        responses: `responses[b][k]`: the token ids of response k to prompt b, none empty; K may differ by prompt.
        max_tokens: Padded positions in one forward pass.

    Returns:
        `B` tensors `[K_b]`, nats, in fp32 or the model's dtype if that is wider.

    Raises:
        ValueError: A prompt or response is empty, or the two lists differ in length.
    """
    rows = _rows(prompts, responses)
    sums: list[Tensor] = [torch.empty(0)] * len(rows)
    for indices in _batches(rows, max_tokens):
        for index, value in zip(indices, _score(model, [rows[i] for i in indices]), strict=True):
            sums[index] = value
    device = _unwrap(model).get_output_embeddings().weight.device
    return [torch.stack(part) if part else torch.empty(0, device=device) for part in _regroup(sums, responses)]


def check_log_probs(model: Any, *, tolerance: float = 1e-2) -> None:
    """Proves on a short probe that this module scores as the model's own forward pass does.

    It guards against a head that is followed by a step we do not know, which would make every number wrong.

    Args:
        model: As for `sequence_log_probs`.
        tolerance: Largest difference of the probe's log-prob, nats; wide enough for bf16.

    Raises:
        InputError: They differ.
    """
    with torch.no_grad():
        ours = sequence_log_probs(model, [_PROBE[:1]], [[_PROBE[1:]]])[0][0]
        ids = torch.tensor([_PROBE], device=ours.device)
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
        theirs = logits.log_softmax(-1).gather(-1, ids[0, 1:, None]).sum()
    if not abs(float(ours - theirs)) <= tolerance * max(1.0, abs(float(theirs))):
        name = type(_unwrap(model)).__name__
        raise InputError(
            f"log-probs from the hidden states ({float(ours):.4f} nats on a probe) differ from the model's own "
            f"({float(theirs):.4f}); its head does something that sparring.logprobs.head does not know",
            where=name,
            fix="use a model of another family, or teach `_transform` in sparring/logprobs/head.py what this one does",
        )


def _rows(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[Sequence[int]]]) -> list[_Row]:
    if len(prompts) != len(responses):
        raise ValueError(f"{len(prompts)} prompts but responses to {len(responses)}")
    rows = []
    for b, (prompt, answers) in enumerate(zip(prompts, responses, strict=True)):
        if len(prompt) == 0:
            raise ValueError(f"prompt {b} is empty: the first response token needs a token before it")
        for k, answer in enumerate(answers):
            if len(answer) == 0:
                raise ValueError(f"response {k} to prompt {b} is empty: it has no log-prob")
            rows.append(_Row(prompt, answer))
    return rows


def _regroup(sums: list[Tensor], responses: Sequence[Sequence[Sequence[int]]]) -> Iterator[list[Tensor]]:
    start = 0
    for answers in responses:
        yield sums[start : start + len(answers)]
        start += len(answers)


def _batches(rows: list[_Row], max_tokens: int) -> Iterator[list[int]]:
    """Indices of rows, longest first; rows × longest stays within the budget (a single row may exceed it)."""
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    start = 0
    while start < len(order):
        size = max(1, max_tokens // len(rows[order[start]]))
        yield order[start : start + size]
        start += size


def _score(model: Any, rows: list[_Row]) -> list[Tensor]:
    core = _unwrap(model)
    device = core.get_input_embeddings().weight.device
    longest = max(map(len, rows))
    # Which positions predict a response token: the last of the prompt up to the last but one of the response.
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    predicts = torch.zeros_like(ids, dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor([*row.prompt, *row.response])
        mask[i, : len(row)] = 1
        predicts[i, len(row.prompt) - 1 : len(row) - 1] = True
    targets = ids.roll(-1, dims=1)[predicts].to(device)
    hidden = core.get_decoder()(
        input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
    ).last_hidden_state
    log_probs = token_log_probs(core, hidden[predicts.to(device)], targets)
    return [part.sum() for part in log_probs.split([len(row.response) for row in rows])]


def _unwrap(model: Any) -> Any:
    """The causal language model under data-parallel and peft wrappers; injected adapters stay active."""
    while hasattr(model, "module"):
        model = model.module
    return model.get_base_model() if hasattr(model, "get_base_model") else model
