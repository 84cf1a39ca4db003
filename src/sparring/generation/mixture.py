"""Decoding with the logits of two models: the policy's and the base's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LogitsProcessor

from sparring.generation.decoding import Decoding
from sparring.generation.prefix import keeps_cache, read, read_once
from sparring.logprobs.mixture import geometric_mixture


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """What every token is sampled from instead of the policy's own distribution: ∝ π^{1−α} π_ref^α.

    Attributes:
        base: The base model's forward pass; it takes and returns what a causal language model of transformers does.
        base_share: α in (0, 1).
    """

    base: Callable[..., Any]
    base_share: float


class MixtureProcessor(LogitsProcessor):
    """Turns a policy's next-token logits into those of a mixture, for one batch, from its first token to its last.

    transformers calls processors that are given to `generate` before temperature, top-k and top-p, so those act on the
    mixture. The base model reads every token once, into a key-value cache of its own, where it has one.

    Args:
        mixture: The base model and its share.
        attention_mask: `[B, T]` of the left-padded prompts.
        decoding: How the policy is decoded, and so the base.
    """

    def __init__(self, mixture: Mixture, attention_mask: torch.Tensor, decoding: Decoding) -> None:
        self._mixture, self._mask, self._decoding = mixture, attention_mask, decoding
        self._cached = decoding.cached and keeps_cache(mixture.base)
        self._begun, self._cache = False, None

    @torch.no_grad()
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`[B·K, T]` tokens so far and `[B·K, n]` logits of the policy to the log-probs `[B·K, n]` of the mixture."""
        logits = self._next(input_ids) if self._begun else self._first(input_ids)
        base = logits.to(device=scores.device, dtype=scores.dtype)
        return geometric_mixture(scores, base, self._mixture.base_share)

    def _first(self, input_ids: torch.Tensor) -> torch.Tensor:
        """The base's next-token logits after the prompts, each of which is read once where its cache can be copied."""
        self._begun = True
        copies = len(input_ids) // len(self._mask)
        shared = self._cached and self._decoding.shared
        cache = read_once(self._mixture.base, input_ids[::copies], self._mask, copies) if shared else None
        self._mask = self._mask.repeat_interleave(copies, dim=0)
        return self._read(input_ids if cache is None else input_ids[:, -1:], cache)

    def _next(self, input_ids: torch.Tensor) -> torch.Tensor:
        # Ones for what was sampled, in rows that have ended too: those are cut afterwards.
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        return self._read(input_ids[:, -1:] if self._cached else input_ids, self._cache)

    def _read(self, ids: torch.Tensor, cache: Any) -> torch.Tensor:
        output = read(self._mixture.base, ids, self._mask, cache, cached=self._cached)
        self._cache = output.past_key_values if self._cached else None
        logits: torch.Tensor = output.logits[:, -1]
        return logits
