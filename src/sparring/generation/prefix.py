"""K samples of a prompt read it once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from sparring.logprobs.decoder import accepted_by


def read_once(model: Callable[..., Any], ids: torch.Tensor, mask: torch.Tensor, copies: int) -> Any:
    """The key-value cache of `copies` of each prompt, all but its last token, computed once a prompt.

    Args:
        model: A causal language model of transformers, or its forward pass.
        ids: `[B, T]` left-padded prompts.
        mask: `[B, T]`, 0 on the padding.
        copies: K.

    Returns:
        The cache for `generate` on `[B·K, T]`, each prompt's copies side by side. None where there is nothing to
        share (K = 1, or T = 1) and where the model's cache holds more than keys and values, as with recurrent states.
    """
    if copies == 1 or ids.shape[1] == 1 or not keeps_cache(model):
        return None
    cache = getattr(read(model, ids[:, :-1], mask[:, :-1]), "past_key_values", None)
    return cache if repeat(cache, copies) else None


def keeps_cache(model: Callable[..., Any]) -> bool:
    """Whether a model takes a key-value cache under its usual name; recurrent ones may have states of their own."""
    return "past_key_values" in accepted_by(model)


def read(
    model: Callable[..., Any], ids: torch.Tensor, mask: torch.Tensor, cache: Any = None, *, cached: bool = True
) -> Any:
    """The model's output on the tokens `ids` `[B, t]`, the last of those that `mask` `[B, T]` covers."""
    accepted = accepted_by(model)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, mask.shape[1] - ids.shape[1] :]
    return model(
        input_ids=ids,
        attention_mask=mask,
        **({"past_key_values": cache} if cache is not None else {}),
        **({"use_cache": cached} if {"use_cache", "kwargs"} & accepted else {}),
        **({"position_ids": positions} if "position_ids" in accepted else {}),
        **({"logits_to_keep": 1} if "logits_to_keep" in accepted else {}),
    )


def repeat(cache: Any, copies: int) -> bool:
    """Copies each row of a cache in place, and says whether that was possible."""
    # The very classes: their subclasses keep further states, which are not copied with the keys and values.
    possible = type(cache) is DynamicCache and all(
        type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers
    )
    if possible:
        cache.batch_repeat_interleave(copies)
    return possible
