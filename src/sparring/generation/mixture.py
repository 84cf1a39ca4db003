"""Sampling from the geometric mixture of the policy and the base model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sparring.generation.rows import RowReader
from sparring.mixture import geometric_mixture


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """The base model and its share in the distribution ∝ π^{1−α} π_ref^α that tokens are sampled from.

    Attributes:
        base: The base model's forward pass; it takes and returns what a causal language model of transformers does.
        base_share: α in (0, 1).
    """

    base: Callable[..., Any]
    base_share: float


class Mixed:
    """Reads the same rows with both models; its next-token logits are the log-probs of their mixture.

    Temperature and truncation come afterwards, so they act on the mixture.

    Args:
        policy: The policy's reader.
        base: The base model's reader.
        base_share: α.
    """

    def __init__(self, policy: RowReader, base: RowReader, base_share: float) -> None:
        self._readers, self._base_share = (policy, base), base_share

    @property
    def can_join(self) -> bool:
        """See `RowReader`."""
        return all(reader.can_join for reader in self._readers)

    @property
    def can_leave(self) -> bool:
        """See `RowReader`."""
        return all(reader.can_leave for reader in self._readers)

    def join(self, prompts: Sequence[Sequence[int]], copies: Sequence[int]) -> Tensor:
        """See `RowReader`."""
        return self._mixed([reader.join(prompts, copies) for reader in self._readers])

    def step(self, tokens: Sequence[int]) -> Tensor:
        """See `RowReader`."""
        return self._mixed([reader.step(tokens) for reader in self._readers])

    def keep(self, rows: Sequence[int]) -> None:
        """See `RowReader`."""
        for reader in self._readers:
            reader.keep(rows)

    def _mixed(self, logits: Sequence[Tensor]) -> Tensor:
        policy, base = logits
        return geometric_mixture(policy, base.to(device=policy.device, dtype=policy.dtype), self._base_share)
