"""Which prompts are decoded together, and what is kept from token to token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal


@dataclass(frozen=True)
class Decoding:
    """Which prompts are decoded in one batch, and what they keep from token to token.

    Attributes:
        lengths: "mixed" where the shorter are padded on the left; "equal" lengths only; or a "single" row at a time.
        cached: Whether keys, values and states are kept; without, every token reads all before it again.
        shared: Whether the samples of a prompt read it once.
    """

    lengths: Literal["mixed", "equal", "single"] = "mixed"
    cached: bool = True
    shared: bool = True

    def groups(self, lengths: Sequence[int], copies: int) -> list[tuple[list[int], int]]:
        """What is decoded together: the places of prompts, and how many copies of each.

        Args:
            lengths: Of the prompts, in tokens.
            copies: Samples of each prompt.
        """
        places = list(range(len(lengths)))
        if self.lengths == "mixed":
            return [(places, copies)]
        if self.lengths == "equal":
            places.sort(key=lambda place: -lengths[place])
            return [(list(group), copies) for _, group in groupby(places, key=lambda place: lengths[place])]
        return [([place], 1) for place in places for _ in range(copies)]
