"""Where the segments of a packed row lie, and what each of them sees."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache

import torch
from torch import Tensor

Segment = tuple[int, int, int]
"""(after, start, stop): the tokens from start to stop follow the one at `after`, which is before them in the row, and
all that it follows; −1 where they begin a sequence. They see those, and themselves causally."""

Ranges = tuple[tuple[int, int], ...]
"""From and up to which positions of the row a part of a sequence lies, in the order of the sequence."""


@lru_cache(maxsize=8)
def sequences_of(segments: tuple[Segment, ...]) -> tuple[Ranges, ...]:
    """What each segment sees: what it follows, and at last itself. Every layer of a row asks for the same."""
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
    """The queries with which a segment that sees so much is computed, and how many of them are not its own.

    With those before it the product is a square, which needs no mask, so half of it is skipped: after little, that
    outweighs its queries done again.
    """
    own = seen[-1:]
    before = sum(stop - start for start, stop in seen[:-1])
    again = before < own[0][1] - own[0][0]
    return (before, seen) if again else (0, own)


@lru_cache(maxsize=16)
def mask_of(queries: int, keys: int, window: int | None, device: torch.device) -> Tensor | None:
    """`[queries, keys]`, true where a query may look; None is plain causal attention. Every layer asks for the same."""
    if queries == keys and (window is None or window >= keys):
        return None
    position = torch.arange(keys - queries, keys, device=device)[:, None]
    ahead = torch.arange(keys, device=device)[None, :] - position
    return (ahead <= 0) if window is None else (ahead <= 0) & (ahead > -window)
