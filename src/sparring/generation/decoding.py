"""Which prompts are decoded together, what is kept from token to token, and what no token is drawn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from torch import Tensor
from transformers import LogitsProcessor

from sparring.errors import RunError


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


class FiniteLogits(LogitsProcessor):
    """Refuses logits of which no token can be drawn; sampling would end without a word of where, greedy go on.

    Args:
        name: What to call a row of the batch.
    """

    def __init__(self, name: Callable[[int], str]) -> None:
        self._name = name

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores as they are; RunError where the greatest of a row is NaN or infinite."""
        broken = (~scores.amax(dim=-1).isfinite()).nonzero()
        if len(broken):
            row = int(broken[0])
            raise RunError(
                f"{self._name(row)}: no next token can be drawn, for the model's logits are NaN or infinite\n"
                "  fix: compute in float32 (model.dtype, without fp16), or take another model; a policy that was "
                "trained here has diverged: start another run with a lower learning rate"
            )
        return scores
