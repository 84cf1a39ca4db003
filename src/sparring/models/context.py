"""How long the texts may be that a model reads."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

# The second is MPT's.
_LENGTHS = ("max_position_embeddings", "max_seq_len")


def context_length(config: PreTrainedConfig) -> int:
    """The longest sequence, in tokens, that the model takes; `sys.maxsize` where its config states no limit.

    Only as far as it reads each text by itself: see `reading_changes_at`.
    """
    lengths = [getattr(config.get_text_config(), name, None) for name in _LENGTHS]
    limits = [*lengths, reading_changes_at(config)]
    return min((int(each) for each in limits if each is not None), default=sys.maxsize)


def reading_changes_at(config: PreTrainedConfig) -> int | None:
    """The number of tokens above which a model turns every position by other factors; None where there is none.

    That is LongRoPE (arXiv 2402.13753) with its two lists of factors, as in Phi-3 and Phi-4-mini. The longest sequence
    of a forward pass decides for all of them, and its last token for its first: beside a text beyond the limit a short
    one has other log-probs, and a text that grows beyond it has others than its tokens were sampled with.
    """
    ropes = _ropes(getattr(config.get_text_config(), "rope_parameters", None) or {})
    limits = [
        int(rope["original_max_position_embeddings"])
        for rope in ropes
        if rope.get("rope_type") == "longrope" and rope["short_factor"] != rope["long_factor"]
    ]
    return min(limits, default=None)


def longest_input(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int:
    """The longest text, in tokens, that a model reads: the lower of its own limit and its tokenizer's."""
    return min(int(tokenizer.model_max_length), context_length(config))


def _ropes(parameters: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The rotary embeddings of a model: one, or one for each type of layer."""
    inner = [each for each in parameters.values() if isinstance(each, Mapping)]
    yield from inner or [parameters]
