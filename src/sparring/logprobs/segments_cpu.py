"""Attention by segments on a processor, which keeps little for the backward pass.

A segment needs its keys and values and those of the sequence before it in one piece, for every head: a copy. If
autograd kept the copies, they would be a quarter of all activations in fp32 (measured on a prompt with five responses),
and two fifths in 16 bits, since attention is computed in fp32. So only the row's own states are kept, and the copies
are made again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from sparring.logprobs.ranges import Ranges, Segment, mask_of, queries_of, seen_by_segment

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001 - the public one saves its inputs
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward  # noqa: SLF001 - as above


def suits_processor(query: Tensor, value: Tensor, dropout: float) -> bool:
    """Whether the processor's kernel computes this attention."""
    return value.device.type == "cpu" and query.shape[-1] == value.shape[-1] and not dropout


def processor_attention(
    query: Tensor, key: Tensor, value: Tensor, segments: Sequence[Segment], *, window: int | None, scale: float | None
) -> Tensor:
    """`segment_attention` without dropout, computed in fp32 where the states have 16 bits.

    On segments of a hundred tokens a backward pass in bf16 takes three times as long as in fp32.

    Returns:
        `[1, H, T, d]`, whose transpose `[1, T, H, d]` is contiguous. It can be differentiated once, not twice.
    """
    result: Tensor = _Attention.apply(query, key, value, seen_by_segment(tuple(segments)), window, scale)
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
            # The queries before the segment get their gradient from the segments that they lie in.
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
    """The queries of a segment and the keys and values that it sees, copied for every head."""
    query, key, value = rows
    keys, values = (_cut(states, seen).repeat_interleave(query.shape[1] // key.shape[1], 1) for states in (key, value))
    return _cut(query, asked), keys, values


def _cut(states: Tensor, ranges: Ranges) -> Tensor:
    """The states of the ranges, one after the other, in the format of the computation."""
    pieces = [states[:, :, start:stop] for start, stop in ranges]
    return (pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)).to(_computed_in(states.dtype))


def _add(states: Tensor, grad: Tensor, ranges: Ranges) -> None:
    """Adds a gradient whose ranges lie one after the other to a row's."""
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
    mask = _additive_mask(queries, keys, window, _computed_in(rows[0].dtype))
    return {"attn_mask": mask, "is_causal": mask is None, "scale": scale}


@lru_cache(maxsize=16)
def _additive_mask(queries: int, keys: int, window: int | None, dtype: torch.dtype) -> Tensor | None:
    """The additive mask of the scores, `[queries, keys]`, 0 or −∞, in their dtype; None for plain causal attention.

    The kernel does not check the dtype: with AVX2 it reads a mask of another dtype as noise.
    """
    mask = mask_of(queries, keys, window, torch.device("cpu"))
    return None if mask is None else torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, float("-inf"))
