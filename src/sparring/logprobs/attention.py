"""Attention over a packed row: every segment sees what it follows and itself, and nothing else.

A packed row has the batch size one, so there is no padding to mask, and the slot of the attention mask is free: it
carries the *layout*, an integer tensor `[1, 1, S, 3]` whose rows are the S segments, in the order of the row.
transformers hands a four-dimensional mask through to the attention function as it is, in every architecture and
through gradient checkpointing, so no model class is patched.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

_PREFIX = "packed_"
# What an attention function may be told without being asked for more than segments' attention computes: anything else
# (capped scores, sinks, biases, chosen keys) would be left out silently.
_UNDERSTOOD = frozenset(
    {"dropout", "scaling", "sliding_window", "is_causal", "position_ids", "use_cache", "cache_position"}
    | {"output_attentions", "output_hidden_states", "past_key_values", "return_dict"}
)
# Flash kernels go by the name of the implementation, and take heads of at most this size.
_LARGEST_HEAD = 256

Segment = tuple[int, int, int]
"""(after, start, stop): the tokens from start to stop follow the one at `after`, which is before them in the row, and
all that it follows; −1 where they begin a sequence. They see those, and themselves causally."""

Ranges = tuple[tuple[int, int], ...]
"""From and up to which positions of the row a part of a sequence lies, in the order of the sequence."""


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


def segment_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Sequence[Segment],
    *,
    window: int | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """softmax(scale · Q Kᵀ) V, segment by segment.

    Args:
        query: `[1, H, T, d]`.
        key: `[1, G, T, d]`, with H a multiple of G.
        value: `[1, G, T, d]`.
        segments: They cover the T positions in order, without gaps.
        window: A query sees the `window` last keys of its own sequence, itself included.
        scale: 1/√d when absent.
        dropout: Probability with which an attention weight is dropped.

    Returns:
        `[1, H, T, d]`.
    """
    # Under autocast, positions have left queries and keys in fp32.
    query, key = query.to(value.dtype), key.to(value.dtype)
    if _suits_flash(query, value) and not dropout:
        return _varlen(query, key, value, segments, window=window, scale=scale)
    kind, dtype = value.device.type, value.dtype
    # A processor's backward pass in bf16 takes three times as long as in fp32 on segments of a hundred tokens.
    wider = torch.float32 if kind == "cpu" and dtype in {torch.bfloat16, torch.float16} else dtype
    with torch.autocast(kind, enabled=False) if wider != dtype else nullcontext():
        query, key, value = (states.to(wider) for states in (query, key, value))
        return _by_segment(query, key, value, segments, window=window, scale=scale, dropout=dropout).to(dtype)


def _by_segment(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Sequence[Segment],
    *,
    window: int | None,
    scale: float | None,
    dropout: float,
) -> Tensor:
    """What `segment_attention` says, of one segment after another."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    queries_of, keys_of, values_of = (_Cut(states, segments) for states in (query, key, value))
    outputs = []
    for seen in _sequences(tuple(segments)):
        own = seen[-1:]
        before = sum(stop - start for start, stop in seen[:-1])
        # A square needs no mask, so half of it is skipped: after little, that outweighs its queries done again.
        again = before < own[0][1] - own[0][0]
        queries = queries_of(seen if again else own)
        keys, values = keys_of(seen), values_of(seen)
        mask = _mask(queries.shape[2], keys.shape[2], window, query.device)
        output = scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, is_causal=mask is None, scale=scale, dropout_p=dropout
        )
        outputs.append(output[:, :, before:] if again else output)
    return torch.cat(outputs, dim=2)


@lru_cache(maxsize=8)
def _sequences(segments: tuple[Segment, ...]) -> tuple[Ranges, ...]:
    """What each segment sees: what it follows, and at last itself. Every layer of a row asks for the same."""
    starts = [start for _, start, _ in segments]
    found: list[Ranges] = []
    for after, start, stop in segments:
        if after < 0:
            found.append(((start, stop),))
            continue
        *earlier, (first, _) = found[bisect_right(starts, after) - 1]
        found.append((*earlier, (first, after + 1), (start, stop)))
    return tuple(found)


class _Cut:
    """States `[1, H, T, d]`, cut once where any segment begins or is left.

    Not slices: the backward pass of each of them would fill and add a whole row.
    """

    def __init__(self, states: Tensor, segments: Sequence[Segment]) -> None:
        edges = sorted({0, states.shape[2], *(after + 1 for after, _, _ in segments), *(s for _, s, _ in segments)})
        self._number = {edge: number for number, edge in enumerate(edges)}
        self._pieces = states.split([stop - start for start, stop in pairwise(edges)], dim=2)

    def __call__(self, ranges: Ranges) -> Tensor:
        """The states of the ranges, one after the other."""
        pieces: list[Tensor] = []
        for start, stop in ranges:
            pieces.extend(self._pieces[self._number[start] : self._number[stop]])
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)


def _suits_flash(query: Tensor, value: Tensor) -> bool:
    return (
        query.is_cuda
        and query.dtype in {torch.float16, torch.bfloat16}
        and query.shape[-1] == value.shape[-1] <= _LARGEST_HEAD
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
    )


@lru_cache(maxsize=16)
def _mask(queries: int, keys: int, window: int | None, device: torch.device) -> Tensor | None:
    """`[queries, keys]`, true where a query may look; None is plain causal attention. Every layer asks for the same."""
    if queries == keys and (window is None or window >= keys):
        return None
    position = torch.arange(keys - queries, keys, device=device)[:, None]
    ahead = torch.arange(keys, device=device)[None, :] - position
    return (ahead <= 0) if window is None else (ahead <= 0) & (ahead > -window)


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, segments: Sequence[Segment], *, window: int | None, scale: float | None
) -> Tensor:
    """The same by one call of flash attention over sequences of different lengths."""
    from torch.nn.attention.varlen import varlen_attn

    index, starts, key_starts, longest, longest_keys = _gather(tuple(segments), query.device)
    groups = query.shape[1] // key.shape[1]
    # Keys and values of what a segment follows are read once a segment; heads are repeated for releases without grouped
    # queries.
    keys, values = (states[0].transpose(0, 1)[index].repeat_interleave(groups, dim=1) for states in (key, value))
    output: Any = varlen_attn(
        query[0].transpose(0, 1),
        keys,
        values,
        starts,
        key_starts,
        longest,
        longest_keys,
        scale=scale,
        # Causal is aligned at the last query and the last key, as segments are.
        window_size=(-1 if window is None else window - 1, 0),
    )
    result: Tensor = output.transpose(0, 1)[None]
    return result


@lru_cache(maxsize=8)
def _gather(segments: tuple[Segment, ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor, int, int]:
    """Which positions the concatenated keys are, where each segment's queries and keys start, and the longest of each.

    Every layer of a row asks for the same.
    """
    sequences = _sequences(segments)
    index = torch.cat([torch.arange(start, stop) for ranges in sequences for start, stop in ranges])
    queries = [stop - start for _, start, stop in segments]
    keys = [sum(stop - start for start, stop in ranges) for ranges in sequences]

    def cumulative(lengths: list[int]) -> Tensor:
        return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)

    return index.to(device), cumulative(queries), cumulative(keys), max(queries), max(keys)
