"""Decoding with the logits of two models: the policy's and the base's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sparring.generation.rows import RowsRead
from sparring.mixture import geometric_mixture


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """What every token is sampled from instead of the policy's own distribution: ∝ π^{1−α} π_ref^α.

    Attributes:
        base: The base model's forward pass; it takes and returns what a causal language model of transformers does.
        base_share: α in (0, 1).
    """

    base: Callable[..., Any]
    base_share: float


class Mixed:
    """Two models' readings of the same rows; what it says of the next token is the mixture's log-probs.

    Temperature and truncation come afterwards, so they act on the mixture.

    Args:
        policy: What the policy has read.
        base: What the base model has read.
        base_share: α.
    """

    def __init__(self, policy: RowsRead, base: RowsRead, base_share: float) -> None:
        self._parts, self._base_share = (policy, base), base_share

    @property
    def joins(self) -> bool:
        """See `RowsRead`."""
        return all(part.joins for part in self._parts)

    @property
    def leaves(self) -> bool:
        """See `RowsRead`."""
        return all(part.leaves for part in self._parts)

    def join(self, prompts: Sequence[Sequence[int]], copies: Sequence[int]) -> Tensor:
        """See `RowsRead`."""
        return self._mixed([part.join(prompts, copies) for part in self._parts])

    def step(self, tokens: Sequence[int]) -> Tensor:
        """See `RowsRead`."""
        return self._mixed([part.step(tokens) for part in self._parts])

    def keep(self, rows: Sequence[int]) -> None:
        """See `RowsRead`."""
        for part in self._parts:
            part.keep(rows)

    def _mixed(self, logits: Sequence[Tensor]) -> Tensor:
        policy, base = logits
        return geometric_mixture(policy, base.to(device=policy.device, dtype=policy.dtype), self._base_share)
