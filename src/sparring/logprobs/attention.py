"""The attention of a model of transformers, exchanged so that it reads packed rows.

A packed row is a batch of one, without padding to be masked, so the argument `attention_mask` is free: it carries the S
segments of the row as an integer tensor `[1, 1, S, 3]`. transformers hands a four-dimensional mask through to the
attention function as it is, in every architecture and through gradient checkpointing, so no model class is patched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from sparring.logprobs.ranges import Segment
from sparring.logprobs.segments import segment_attention

_PREFIX = "packed_"
# The arguments of an attention function that attention by segments honours or may ignore. Any other (capped scores,
# sinks, biases, chosen keys) would be left out silently, so it is refused.
_UNDERSTOOD = frozenset(
    {"dropout", "scaling", "sliding_window", "is_causal", "position_ids", "use_cache", "cache_position"}
    | {"output_attentions", "output_hidden_states", "past_key_values", "return_dict"}
)


_layers: ContextVar[set[int | None] | None] = ContextVar("layers", default=None)


class UnsupportedAttentionError(Exception):
    """The model's attention does something that attention by segments does not compute."""


def segment_tensor(segments: Sequence[Segment]) -> Tensor:
    """The segments of a packed row as a tensor, to be passed as its `attention_mask`."""
    return torch.tensor(segments, dtype=torch.long)[None, None]


@contextmanager
def counting_layers() -> Iterator[set[int | None]]:
    """Collects the indices of the layers that attend by segments while it is open."""
    seen: set[int | None] = set()
    token = _layers.set(seen)
    try:
        yield seen
    finally:
        _layers.reset(token)


def use_packed_attention(model: Any) -> Callable[[], None]:
    """Makes the model read packed rows; other inputs go to the attention that it had before.

    Some families look at the name of the attention implementation, which changes here, so it must be proved that other
    inputs are computed as before.

    Args:
        model: The bare causal language model.

    Returns:
        A function that gives the model back its former attention, in all its parts.

    Raises:
        UnsupportedAttentionError: Its attention is not one that transformers can exchange.
    """
    present = model.config._attn_implementation  # noqa: SLF001 - there is no public way to read it
    if present is not None and present.startswith(_PREFIX):
        return lambda: None
    settable = model._can_set_attn_implementation()  # noqa: SLF001 - setting it would only warn
    if "flash" in (present or ""):
        raise UnsupportedAttentionError(
            f"its attention implementation '{present}' goes by its name; take 'sdpa', with which packed rows use flash "
            "attention by themselves"
        )
    if not settable or present is None or present not in ALL_ATTENTION_FUNCTIONS.valid_keys():
        raise UnsupportedAttentionError(f"its attention implementation '{present}' cannot be exchanged")
    name = _PREFIX + present
    AttentionInterface.register(name, _packed_or(ALL_ATTENTION_FUNCTIONS[present]))
    if present in ALL_MASK_ATTENTION_FUNCTIONS.valid_keys():
        AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[present])
    restore = _restorer(model)
    model.set_attn_implementation(name)
    return restore


def _restorer(model: Any) -> Callable[[], None]:
    configs = {id(part.config): part.config for part in model.modules() if isinstance(part, PreTrainedModel)}
    for name in model.config.sub_configs:
        if (config := getattr(model.config, name, None)) is not None:
            configs[id(config)] = config
    had = [(config, config._attn_implementation) for config in configs.values()]  # noqa: SLF001 - as above

    def restore() -> None:
        for config, name in had:
            # Not by `set_attn_implementation`, which may refuse a part the attention that it had.
            config._attn_implementation_internal = name  # noqa: SLF001 - as above

    return restore


def _packed_or(otherwise: Any) -> Any:
    def attention(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, None]:
        if attention_mask is None or attention_mask.dtype != torch.long:
            if otherwise is sdpa_attention_forward and _suits_groups(query, key, attention_mask, kwargs):
                return grouped_attention(query, key, value, attention_mask, kwargs.get("scaling")).transpose(1, 2), None
            result: tuple[Tensor, None] = otherwise(module, query, key, value, attention_mask, **kwargs)
            return result
        if (seen := _layers.get()) is not None:
            seen.add(module.layer_idx)
        output = segment_attention(
            query,
            key,
            value,
            [tuple(segment) for segment in attention_mask[0, 0].tolist()],
            window=_window(module, kwargs),
            scale=kwargs.get("scaling"),
            dropout=kwargs.get("dropout", 0.0),
        )
        return output.transpose(1, 2), None

    return attention


def _suits_groups(query: Tensor, key: Tensor, mask: Tensor | None, kwargs: dict[str, Any]) -> bool:
    """Whether `grouped_attention` computes this: one query a row, keys that several heads share, and nothing else."""
    return (
        query.shape[2] == 1 < query.shape[1] // key.shape[1]
        and (mask is None or mask.shape[1] == 1)
        and not kwargs.get("dropout")
        and not _strange(kwargs)
    )


def grouped_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """The attention softmax(scale · Q Kᵀ) V of one query a row, computed as several queries on each head of keys.

    So keys and values are read once for all heads that share them; transformers copies them for each if there is a
    mask.

    Args:
        query: `[R, H, 1, d]`.
        key: `[R, G, T, d]`, with H a multiple of G.
        value: `[R, G, T, e]`.
        mask: `[R, 1, 1, T]`, booleans that are true where the row may look, or numbers to add to its scores; None hides
            nothing.
        scale: The factor on the scores; 1/√d when absent.

    Returns:
        `[R, H, 1, e]`.
    """
    rows, heads, _, size = query.shape
    groups = query.reshape(rows, key.shape[1], heads // key.shape[1], size)
    output = scaled_dot_product_attention(groups, key, value, attn_mask=mask, scale=scale)
    return output.reshape(rows, heads, 1, value.shape[-1])


def _strange(kwargs: dict[str, Any]) -> list[str]:
    """The names of the arguments that ask for more than is computed here."""
    return [name for name, value in kwargs.items() if value is not None and name not in _UNDERSTOOD]


def _window(module: Any, kwargs: dict[str, Any]) -> int | None:
    """The number of last keys that a query of this layer sees, its own included; None for all.

    Raises:
        UnsupportedAttentionError: The layer's attention has other options, or its window is not known.
    """
    if strange := _strange(kwargs):
        raise UnsupportedAttentionError(f"its attention takes {', '.join(strange)}")
    window: int | None = kwargs.get("sliding_window")
    kinds, index = getattr(module.config, "layer_types", None), getattr(module, "layer_idx", None)
    kind = kinds[index] if kinds and index is not None else _only_kind(module, kwargs)
    if kind not in {"full_attention", "sliding_attention"} or (kind == "sliding_attention" and window is None):
        raise UnsupportedAttentionError(f"layer {index} has {kind}, and does not tell its window")
    return window


def _only_kind(module: Any, kwargs: dict[str, Any]) -> str:
    """The kind of a layer of a model whose layers are all alike.

    A window in the configuration that is no argument of the attention function may be in the mask alone, which packed
    rows replace.
    """
    told = "sliding_window" in kwargs or getattr(module.config, "sliding_window", None) is None
    return "full_attention" if told else "sliding_attention"
