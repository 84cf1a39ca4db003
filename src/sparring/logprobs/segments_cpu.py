"""Attention by segments on a processor: of each layer its rows are kept for the backward pass, not what segments read.

What a segment reads, its keys and values and those of all that it follows, once for every head, is a copy. Kept by
autograd, the copies of a prompt with five responses were a quarter of all activations in fp32, and in 16 bits two
fifths, since they are computed in fp32. Here they are made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from sparring.logprobs.ranges import Ranges, Segment, mask_of, queries_of, sequences_of

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001 - the public name keeps its inputs
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward  # noqa: SLF001 - as above


def suits_processor(query: Tensor, value: Tensor, dropout: float) -> bool:
    """Whether the processor's kernel computes this attention."""
    return value.device.type == "cpu" and query.shape[-1] == value.shape[-1] and not dropout


def processor_attention(
    query: Tensor, key: Tensor, value: Tensor, segments: Sequence[Segment], *, window: int | None, scale: float | None
) -> Tensor:
    """softmax(scale · Q Kᵀ) V, segment by segment, computed in fp32 where the states have 16 bits.

    A backward pass in bf16 takes three times as long as in fp32 on segments of a hundred tokens. Takes what
    `segment_attention` takes, but for dropout.

    Returns:
        `[1, H, T, d]`, whose transpose `[1, T, H, d]` is contiguous. It has a gradient, but no second one.
    """
    result: Tensor = _Attention.apply(query, key, value, sequences_of(tuple(segments)), window, scale)
    return result


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - as autograd calls it
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        sequences: tuple[Ranges, ...],
        window: int | None,
        scale: float | None,
    ) -> Tensor:
        rows = (query, key, value)
        output = query.new_empty(query.transpose(1, 2).shape).transpose(1, 2)
        logsumexps = []
        for seen in sequences:
            start, stop = seen[-1]
            before, asked = queries_of(seen)
            computed, logsumexp = _flash(*_read(rows, asked, seen), **_masked(rows, asked, seen, window, scale))
            output[:, :, start:stop] = computed[:, :, before:]
            logsumexps.append(logsumexp)
        ctx.save_for_backward(*rows, output, *logsumexps)
        ctx.sequences, ctx.window, ctx.scale = sequences, window, scale
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *rows, output = (saved := ctx.saved_tensors)[:4]
        found = [torch.zeros_like(states, dtype=_computed_in(states.dtype)) for states in rows]
        for seen, logsumexp in zip(ctx.sequences, saved[4:], strict=True):
            start, stop = seen[-1]
            before, asked = queries_of(seen)
            given = _cut(grads[0], asked)
            # The queries that are not the segment's own have had their gradient from their own segment.
            given = given if not before else given.index_fill(2, torch.arange(before), 0.0)
            query, key, value = _flash_backward(
                given,
                *_read(rows, asked, seen),
                _cut(output, asked),
                logsumexp,
                dropout_p=0.0,
                **_masked(rows, asked, seen, ctx.window, ctx.scale),
            )
            found[0][:, :, start:stop] = query[:, :, before:]
            for states, grad in zip(found[1:], (key, value), strict=True):
                _add(states, grad.unflatten(1, (states.shape[1], -1)).sum(2), seen)
        return *(grad.to(states.dtype) for grad, states in zip(found, rows, strict=True)), None, None, None


def _read(rows: Sequence[Tensor], asked: Ranges, seen: Ranges) -> tuple[Tensor, Tensor, Tensor]:
    """The queries, keys and values of a segment, for every head."""
    query, key, value = rows
    keys, values = (_cut(states, seen).repeat_interleave(query.shape[1] // key.shape[1], 1) for states in (key, value))
    return _cut(query, asked), keys, values


def _cut(states: Tensor, ranges: Ranges) -> Tensor:
    """The states of the ranges, one after the other, as wide as they are computed."""
    pieces = [states[:, :, start:stop] for start, stop in ranges]
    return (pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)).to(_computed_in(states.dtype))


def _add(states: Tensor, grad: Tensor, ranges: Ranges) -> None:
    done = 0
    for start, stop in ranges:
        states[:, :, start:stop] += grad[:, :, done : done + stop - start]
        done += stop - start


def _computed_in(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype.itemsize == 2 else dtype


def _masked(
    rows: Sequence[Tensor], asked: Ranges, seen: Ranges, window: int | None, scale: float | None
) -> dict[str, Any]:
    queries, keys = (sum(stop - start for start, stop in ranges) for ranges in (asked, seen))
    mask = _added(queries, keys, window, _computed_in(rows[0].dtype))
    return {"attn_mask": mask, "is_causal": mask is None, "scale": scale}


@lru_cache(maxsize=16)
def _added(queries: int, keys: int, window: int | None, dtype: torch.dtype) -> Tensor | None:
    """What is added to the scores, `[queries, keys]`, in their dtype; None is plain causal attention.

    The kernel does not check the dtype: with AVX2 it reads a mask of another one as noise.
    """
    mask = mask_of(queries, keys, window, torch.device("cpu"))
    return None if mask is None else torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, float("-inf"))
