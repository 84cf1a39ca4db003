"""The attention of a model of transformers, exchanged so that it reads packed rows.

A packed row has the batch size one, so there is no padding to mask, and the slot of the attention mask is free: it
carries the *layout*, an integer tensor `[1, 1, S, 3]` whose rows are the S segments, in the order of the row.
transformers hands a four-dimensional mask through to the attention function as it is, in every architecture and
through gradient checkpointing, so no model class is patched.
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
# What an attention function may be told without being asked for more than segments' attention computes: anything else
# (capped scores, sinks, biases, chosen keys) would be left out silently.
_UNDERSTOOD = frozenset(
    {"dropout", "scaling", "sliding_window", "is_causal", "position_ids", "use_cache", "cache_position"}
    | {"output_attentions", "output_hidden_states", "past_key_values", "return_dict"}
)


_layers: ContextVar[set[int | None] | None] = ContextVar("layers", default=None)


class UnsupportedAttentionError(Exception):
    """The model's attention does something that segments do not honour."""


def layout_tensor(segments: Sequence[Segment]) -> Tensor:
    """The layout of a packed row, to be passed as its `attention_mask`."""
    return torch.tensor(segments, dtype=torch.long)[None, None]


@contextmanager
def counting_layers() -> Iterator[set[int | None]]:
    """Collects the indices of the layers that attend by segments inside."""
    seen: set[int | None] = set()
    token = _layers.set(seen)
    try:
        yield seen
    finally:
        _layers.reset(token)


def use_packed_attention(model: Any) -> Callable[[], None]:
    """Makes the model understand packed rows; other inputs go to the attention it had before.

    Some families look at the name of the implementation, which changes here: so it must be proved that other inputs
    are computed as before.

    Args:
        model: The bare causal language model.

    Returns:
        What gives the model, in all its parts, the attention back that it had.

    Raises:
        UnsupportedAttentionError: Its present attention is not one that transformers can exchange.
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
            # Not by `set_attn_implementation`, which would ask again whether each part may have what it had.
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
    """Whether each row has one query, several heads share keys, and nothing else is asked for."""
    return (
        query.shape[2] == 1 < query.shape[1] // key.shape[1]
        and (mask is None or mask.shape[1] == 1)
        and not kwargs.get("dropout")
        and not _strange(kwargs)
    )


def grouped_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """softmax(scale · Q Kᵀ) V of one query a row, the heads that share keys being as many queries on them.

    So keys and values are read once for all of them; transformers copies them for each where there is a mask.

    Args:
        query: `[R, H, 1, d]`.
        key: `[R, G, T, d]`, with H a multiple of G.
        value: `[R, G, T, e]`.
        mask: `[R, 1, 1, T]`, true where the row may look, or what is added to its scores; None hides nothing.
        scale: 1/√d when absent.

    Returns:
        `[R, H, 1, e]`.
    """
    rows, heads, _, size = query.shape
    groups = query.reshape(rows, key.shape[1], heads // key.shape[1], size)
    output = scaled_dot_product_attention(groups, key, value, attn_mask=mask, scale=scale)
    return output.reshape(rows, heads, 1, value.shape[-1])


def _strange(kwargs: dict[str, Any]) -> list[str]:
    """What attention is told that asks for more than is computed here."""
    return [name for name, value in kwargs.items() if value is not None and name not in _UNDERSTOOD]


def _window(module: Any, kwargs: dict[str, Any]) -> int | None:
    """How many keys a query of this layer may look back to, itself included; None is all of them."""
    if strange := _strange(kwargs):
        raise UnsupportedAttentionError(f"its attention takes {', '.join(strange)}")
    window: int | None = kwargs.get("sliding_window")
    kinds, index = getattr(module.config, "layer_types", None), getattr(module, "layer_idx", None)
    kind = kinds[index] if kinds and index is not None else _only_kind(module, kwargs)
    if kind not in {"full_attention", "sliding_attention"} or (kind == "sliding_attention" and window is None):
        raise UnsupportedAttentionError(f"layer {index} has {kind}, and does not tell its window")
    return window


def _only_kind(module: Any, kwargs: dict[str, Any]) -> str:
    """Of layers that are all alike; a window that is set must be told, where it might be in the mask alone."""
    told = "sliding_window" in kwargs or getattr(module.config, "sliding_window", None) is None
    return "full_attention" if told else "sliding_attention"
