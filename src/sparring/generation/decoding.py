"""Which prompts are decoded together, and what is kept from token to token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from sparring.generation.rows import Asked


@dataclass(frozen=True)
class Decoding:
    """Which prompts are decoded in one batch, and what they keep from token to token.

    Attributes:
        lengths: "mixed" where the shorter are padded on the left; "equal" lengths only; or a "single" row at a time.
        keeps: Keys and values by "rows", of which each may leave and others join; what the model itself keeps, by the
            "batch"; or "nothing", so that every token reads all before it again.
    """

    lengths: Literal["mixed", "equal", "single"] = "mixed"
    keeps: Literal["rows", "batch", "nothing"] = "rows"

    def groups(self, asked: Sequence[Asked]) -> list[list[Asked]]:
        """What is decoded together."""
        if self.lengths == "mixed":
            return [list(asked)]
        if self.lengths == "equal":
            by_length = sorted(asked, key=lambda each: -len(each.ids))
            return [list(group) for _, group in groupby(by_length, key=lambda each: len(each.ids))]
        return [[Asked(each.ids, [row])] for each in asked for row in each.rows]
