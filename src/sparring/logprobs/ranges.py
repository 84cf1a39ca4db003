"""The segments of a packed row: where they lie, and which positions each of them sees."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache

import torch
from torch import Tensor

Segment = tuple[int, int, int]
"""(after, start, stop): the tokens at positions start … stop − 1 of a packed row, which continue the sequence that ends
at position `after`, before them in the row; −1 where they begin a sequence. Each token sees that sequence, and the
tokens of its own segment up to itself."""

Ranges = tuple[tuple[int, int], ...]
"""The positions of a sequence in the row, as (start, stop) of each stretch, in the order of the sequence."""


@lru_cache(maxsize=8)
def seen_by_segment(segments: tuple[Segment, ...]) -> tuple[Ranges, ...]:
    """For each segment, the sequence that it continues, and last the segment itself.

    Cached, since every layer asks for the same.
    """
    starts = [start for _, start, _ in segments]
    found: list[Ranges] = []
    for after, start, stop in segments:
        if after < 0:
            found.append(((start, stop),))
            continue
        *earlier, (first, _) = found[bisect_right(starts, after) - 1]
        found.append((*earlier, (first, after + 1), (start, stop)))
    return tuple(found)


def queries_of(seen: Ranges) -> tuple[int, Ranges]:
    """The queries that a segment's attention is computed with, after the number of them that lie before the segment.

    They are the segment's own, or all that the segment sees. With all, the scores are a square with a causal mask, of
    which kernels skip half. That is faster where less lies before the segment than in it, though the queries before it
    are computed again.

    Args:
        seen: What the segment sees, from `seen_by_segment`.
    """
    own = seen[-1:]
    before = sum(stop - start for start, stop in seen[:-1])
    return (before, seen) if before < own[0][1] - own[0][0] else (0, own)


@lru_cache(maxsize=16)
def mask_of(queries: int, keys: int, window: int | None, device: torch.device) -> Tensor | None:
    """The mask `[queries, keys]`, true where a query may look; None for plain causal attention.

    Cached, since every layer asks for the same. The queries are the last positions of the keys' sequence.
    """
    if queries == keys and (window is None or window >= keys):
        return None
    position = torch.arange(keys - queries, keys, device=device)[:, None]
    ahead = torch.arange(keys, device=device)[None, :] - position
    return (ahead <= 0) if window is None else (ahead <= 0) & (ahead > -window)
