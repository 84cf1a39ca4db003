"""A causal language model's decoder, which gives the hidden states that its head reads, and its own forward pass."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

_OPTIONS = {"use_cache": False, "return_dict": True}


class UnknownDecoderError(Exception):
    """No part of the model gives hidden states for its head."""


def decoder_of(core: Any) -> Any:
    """The part of a model that turns token ids into the hidden states that its head reads.

    `get_decoder` returns it in most families. In some it returns the whole model or the output layer; there the decoder
    is the base model, or the only model inside.

    Args:
        core: The bare causal language model.

    Raises:
        UnknownDecoderError: There is no such part.
    """
    for part in _candidates(core):
        if isinstance(part, nn.Module) and part is not core and "input_ids" in accepted_by(part):
            return part
    raise UnknownDecoderError("it has no part that gives hidden states")


def _candidates(core: Any) -> Iterator[Any]:
    with suppress(AttributeError, NotImplementedError):
        yield core.get_decoder()
    yield getattr(core, core.base_model_prefix, None)
    inner = [child for child in core.children() if hasattr(child, "get_input_embeddings")]
    yield inner[0] if len(inner) == 1 else None


def accepted_by(model: Callable[..., Any]) -> frozenset[str]:
    """The names of the arguments of a model's forward pass, or of a function in its place."""
    return frozenset(inspect.signature(getattr(model, "forward", model)).parameters)


def plain_options(part: Any) -> dict[str, bool]:
    """The arguments for a forward pass without a cache and with a named result, as far as `part` takes them."""
    accepted = accepted_by(part)
    return {name: value for name, value in _OPTIONS.items() if name in accepted or "kwargs" in accepted}


def own_logits(model: Callable[..., Any], ids: Sequence[int], device: torch.device) -> Tensor:
    """`[T, n]` logits of the model's own forward pass on one unpadded row; they define the model's distribution."""
    output = model(input_ids=torch.tensor([list(ids)], device=device), **plain_options(model))
    logits: Tensor = output.logits[0]
    return logits
