"""A curve in one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

BLOCKS = " ▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float | None], width: int = 16, *, logarithmic: bool = False) -> str:
    """A block for each value, from the smallest to the largest.

    Args:
        values: The values in order; one that is None, not finite, or not positive on a logarithmic scale, is blank.
        width: The most blocks; if there are more values, each block is the mean of some neighbours.
        logarithmic: Whether heights and means are those of the logarithms.
    """
    heights = [_height(value, logarithmic=logarithmic) for value in values]
    size = min(width, len(heights))
    cuts = [n * len(heights) // max(size, 1) for n in range(size + 1)]
    means = [_mean(heights[start:stop]) for start, stop in pairwise(cuts)]
    known = [mean for mean in means if not math.isnan(mean)]
    if not known:
        return ""
    low, span = min(known), max(max(known) - min(known), 1e-12)
    return "".join(" " if math.isnan(mean) else BLOCKS[1 + round(7 * (mean - low) / span)] for mean in means)


def _height(value: float | None, *, logarithmic: bool) -> float:
    if value is None or not math.isfinite(value) or (logarithmic and value <= 0):
        return math.nan
    return math.log10(value) if logarithmic else value


def _mean(heights: Sequence[float]) -> float:
    known = [height for height in heights if not math.isnan(height)]
    return math.fsum(known) / len(known) if known else math.nan
