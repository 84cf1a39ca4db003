"""The longest texts that a model can read."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

# The second name is MPT's.
_LENGTHS = ("max_position_embeddings", "max_seq_len")


def context_length(config: PreTrainedConfig) -> int:
    """The longest sequence, in tokens, that the model takes; `sys.maxsize` if its configuration states no limit.

    With LongRoPE it may be less, since texts of one batch affect each other: see `reading_changes_at`.
    """
    lengths = [getattr(config.get_text_config(), name, None) for name in _LENGTHS]
    limits = [*lengths, reading_changes_at(config)]
    return min((int(each) for each in limits if each is not None), default=sys.maxsize)


def reading_changes_at(config: PreTrainedConfig) -> int | None:
    """The number of tokens above which a model rotates all positions by other factors; None for most models.

    LongRoPE (arXiv 2402.13753) has two lists of factors, as in Phi-3 and Phi-4-mini, or two scales, as in Phi-3.5-MoE,
    and the longest sequence of a forward pass decides which is used for all of them. So a short text has other
    log-probs beside one beyond the limit, and a text that grows beyond it has other log-probs than its first tokens
    were sampled with.
    """
    ropes = _ropes(getattr(config.get_text_config(), "rope_parameters", None) or {})
    limits = [
        int(rope["original_max_position_embeddings"])
        for rope in ropes
        if rope.get("rope_type") == "longrope"
        and any(rope.get(f"short_{what}") != rope.get(f"long_{what}") for what in ("factor", "mscale"))
    ]
    return min(limits, default=None)


def longest_input(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int:
    """The longest text, in tokens, that a model reads: the lower of its own limit and its tokenizer's."""
    return min(int(tokenizer.model_max_length), context_length(config))


def _ropes(parameters: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The rotary embeddings of a model: one, or one for each type of layer."""
    inner = [each for each in parameters.values() if isinstance(each, Mapping)]
    yield from inner or [parameters]
