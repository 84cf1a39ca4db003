"""A causal language model's parts: what gives the hidden states that its head reads, and its own forward pass."""

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
    """The part that turns token ids into the hidden states that the head reads.

    `get_decoder` names it in most families; in some it gives the whole model or the output layer, and there it is the
    base model, or the only model inside.

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
    """The names of the arguments that a model's forward pass, or a function in its place, takes."""
    return frozenset(inspect.signature(getattr(model, "forward", model)).parameters)


def plain_options(part: Any) -> dict[str, bool]:
    """No cache, and a result with names: of these arguments, those that `part` takes."""
    accepted = accepted_by(part)
    return {name: value for name, value in _OPTIONS.items() if name in accepted or "kwargs" in accepted}


def own_logits(model: Callable[..., Any], ids: Sequence[int], device: torch.device) -> Tensor:
    """`[T, n]` logits of the model's own forward pass on one row of token ids, unpadded: its law by definition."""
    output = model(input_ids=torch.tensor([list(ids)], device=device), **plain_options(model))
    logits: Tensor = output.logits[0]
    return logits
