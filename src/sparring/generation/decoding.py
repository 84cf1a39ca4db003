"""How a model is decoded: which prompts make a batch, and what is cached from token to token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

from sparring.generation.rows import PromptRows


@dataclass(frozen=True)
class Decoding:
    """How a model is decoded.

    Attributes:
        lengths: Which prompts make a batch: of "mixed" lengths, the shorter padded on the left; of "equal" length; or
            a "single" row.
        keeps: What is cached: keys and values row by row ("rows"), so that a row may leave and another join; the
            model's own cache for the whole "batch"; or "nothing", so that every step reads its rows from their start.
    """

    lengths: Literal["mixed", "equal", "single"] = "mixed"
    keeps: Literal["rows", "batch", "nothing"] = "rows"

    def groups(self, prompts: Sequence[PromptRows]) -> list[list[PromptRows]]:
        """The prompts, split into groups that may be decoded together."""
        if self.lengths == "mixed":
            return [list(prompts)]
        if self.lengths == "equal":
            by_length = sorted(prompts, key=lambda prompt: -len(prompt.ids))
            return [list(group) for _, group in groupby(by_length, key=lambda prompt: len(prompt.ids))]
        return [[PromptRows(prompt.ids, [row])] for prompt in prompts for row in prompt.rows]

    def for_widths(self, prompts: Sequence[PromptRows], limit: int | None) -> Decoding:
        """The same way, but without padding if a row may reach `limit`, which `padding_counts_from` gives."""
        longest = max((len(prompt.ids) + row.limit for prompt in prompts for row in prompt.rows), default=0)
        return self if limit is None or self.lengths != "mixed" or longest < limit else replace(self, lengths="equal")


def padding_counts_from(config: Any) -> int | None:
    """The width from which a model reads a left-padded row differently; None for most models.

    Llama 4 scales the queries of its layers without rotary embeddings by a token's column, not by its position, in
    steps of `floor_scale`. Proofs on short texts cannot show this.

    Args:
        config: The model's configuration.
    """
    text = config.get_text_config()
    return int(text.floor_scale) if getattr(text, "attn_temperature_tuning", False) else None
