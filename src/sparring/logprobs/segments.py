"""Attention by segments: each token of a packed row sees the tokens before it in its own sequence, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from sparring.logprobs.ranges import Ranges, Segment, mask_of, queries_of, seen_by_segment
from sparring.logprobs.segments_cpu import processor_attention, suits_processor

# Flash kernels take heads of at most this size.
_LARGEST_HEAD = 256


def segment_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Sequence[Segment],
    *,
    window: int | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """The attention softmax(scale · Q Kᵀ) V of a packed row, segment by segment.

    Args:
        query: `[1, H, T, d]`.
        key: `[1, G, T, d]`, with H a multiple of G.
        value: `[1, G, T, d]`.
        segments: The segments, which cover the T positions in order, without gaps.
        window: The number of last keys of its sequence that a query sees, its own included; None for all.
        scale: The factor on the scores; 1/√d when absent.
        dropout: The probability that an attention weight is dropped.

    Returns:
        `[1, H, T, d]`.
    """
    # Under autocast, rotary position embeddings have left queries and keys in fp32.
    query, key = query.to(value.dtype), key.to(value.dtype)
    if _suits_flash(query, value) and not dropout:
        return _varlen(query, key, value, segments, window=window, scale=scale)
    if suits_processor(query, value, dropout):
        return processor_attention(query, key, value, segments, window=window, scale=scale)
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    query_parts, key_parts, value_parts = (_Cut(states, segments) for states in (query, key, value))
    outputs = []
    for seen in seen_by_segment(tuple(segments)):
        before, asked = queries_of(seen)
        queries, keys, values = query_parts(asked), key_parts(seen), value_parts(seen)
        mask = mask_of(queries.shape[2], keys.shape[2], window, query.device)
        output = scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, is_causal=mask is None, scale=scale, dropout_p=dropout
        )
        outputs.append(output[:, :, before:])
    return torch.cat(outputs, dim=2)


class _Cut:
    """States `[1, H, T, d]`, cut once wherever a segment begins, or another one branches off.

    One `split` rather than slices, since the backward pass of each slice would fill and add a whole row.
    """

    def __init__(self, states: Tensor, segments: Sequence[Segment]) -> None:
        edges = sorted({0, states.shape[2], *(after + 1 for after, _, _ in segments), *(s for _, s, _ in segments)})
        self._number = {edge: number for number, edge in enumerate(edges)}
        self._pieces = states.split([stop - start for start, stop in pairwise(edges)], dim=2)

    def __call__(self, ranges: Ranges) -> Tensor:
        """The states of the ranges, one after the other."""
        pieces: list[Tensor] = []
        for start, stop in ranges:
            pieces.extend(self._pieces[self._number[start] : self._number[stop]])
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)


def _suits_flash(query: Tensor, value: Tensor) -> bool:
    return (
        query.is_cuda
        and query.dtype in {torch.float16, torch.bfloat16}
        and query.shape[-1] == value.shape[-1] <= _LARGEST_HEAD
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
    )


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, segments: Sequence[Segment], *, window: int | None, scale: float | None
) -> Tensor:
    """The attention by one call of flash attention over sequences of different lengths."""
    from torch.nn.attention.varlen import varlen_attn

    index, starts, key_starts, longest, longest_keys = _gather(tuple(segments), query.device)
    groups = query.shape[1] // key.shape[1]
    # The keys and values that several segments see are repeated for each of them, and heads for each of their queries,
    # since not all releases of PyTorch have grouped queries here.
    keys, values = (states[0].transpose(0, 1)[index].repeat_interleave(groups, dim=1) for states in (key, value))
    output: Any = varlen_attn(
        query[0].transpose(0, 1),
        keys,
        values,
        starts,
        key_starts,
        longest,
        longest_keys,
        scale=scale,
        # The causal mask is aligned at the last query and the last key, as a segment is with what it sees.
        window_size=(-1 if window is None else window - 1, 0),
    )
    result: Tensor = output.transpose(0, 1)[None]
    return result


@lru_cache(maxsize=8)
def _gather(segments: tuple[Segment, ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor, int, int]:
    """The arguments of flash attention for a row: positions of the keys, starts and longest length of queries and keys.

    Cached, since every layer asks for the same.
    """
    sequences = seen_by_segment(segments)
    index = torch.cat([torch.arange(start, stop) for ranges in sequences for start, stop in ranges])
    queries = [stop - start for _, start, stop in segments]
    keys = [sum(stop - start for start, stop in ranges) for ranges in sequences]

    def cumulative(lengths: list[int]) -> Tensor:
        return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)

    return index.to(device), cumulative(queries), cumulative(keys), max(queries), max(keys)
