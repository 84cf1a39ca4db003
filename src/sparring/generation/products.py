"""Faster matrix products while decoding on a processor: weights are laid out once, not again for every token."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import psutil
import torch
from torch import Tensor, nn

# The largest share of the machine's memory for the copy; larger weights are multiplied as they are.
_SHARE = 1 / 8


@dataclass(frozen=True)
class _LowRank:
    """The product `up @ down` that an adapter adds to a weight, in fp32.

    Attributes:
        down: `[r, i]`.
        up: `[o, r]`, with the adapter's scale in it.
    """

    down: Tensor
    up: Tensor


@contextmanager
def laid_out(model: Any) -> Iterator[None]:
    """Within, linear layers on a processor multiply with a copy of their weights in oneDNN's own memory layout.

    Otherwise a product of a few rows spends much of its time on reordering the weights, again for every token, and
    under autocast on rounding them too. The weights must not change within; the copy is made on every entry, so it is
    never stale. Layers multiply in fp32, or in bf16 on processors that have such products. Nothing is done for layers
    of other kinds or formats, where oneDNN is missing, or where the copy would take too much of the machine's memory.

    A LoRA adapter is multiplied together with its layer: W x + s B A x = [W, s B] [x, A x]. In bf16 the entries of s B
    and of A x are each split into two numbers (16 bits of mantissa together), and the whole is rounded once.

    Args:
        model: The model, in evaluation mode; it is unchanged afterwards.
    """
    layers = _layers(model) if _possible() else {}
    if sum(_size(_linear(layer), adapter) for layer, adapter in layers.items()) > (
        _SHARE * psutil.virtual_memory().total
    ):
        layers = {}
    try:
        for layer, adapter in layers.items():
            # An attribute of the instance takes precedence over the class's method.
            layer.forward = _forward(layer, adapter)
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


def _layers(model: nn.Module) -> dict[Any, _LowRank | None]:
    """The layers whose products are replaced, each with its adapter; the linear layers of an adapter are left out."""
    found: dict[Any, _LowRank | None] = {}
    passed = set[nn.Module]()
    for layer in model.modules():
        if layer in passed:
            continue
        adapter = _adapter(layer)
        if adapter is not None:
            passed.update(layer.modules())
        if adapter is not None or _suits(layer):
            found[layer] = adapter
    return found


def _adapter(layer: Any) -> _LowRank | None:
    """The adapter of a peft layer that adds just s B A x to the product of a linear layer; None for any other layer."""
    peft = sys.modules.get("peft.tuners.lora.layer")
    if peft is None or type(layer) is not peft.Linear or "forward" in layer.__dict__ or layer.merged:
        return None
    names = [name for name in layer.active_adapters if name in layer.lora_A]
    if len(names) != 1 or names[0] in layer.lora_variant or not _suits(layer.base_layer):
        return None
    (name,) = names
    down, up, dropout = layer.lora_A[name], layer.lora_B[name], layer.lora_dropout[name]
    inert = isinstance(dropout, nn.Identity) or not dropout.training
    if not (inert and _suits(down) and _suits(up) and down.bias is None and up.bias is None):
        return None
    return _LowRank(down.weight.detach().float(), layer.scaling[name] * up.weight.detach().float())


def _linear(layer: Any) -> nn.Linear:
    linear: nn.Linear = layer if type(layer) is nn.Linear else layer.base_layer
    return linear


def _size(linear: nn.Linear, adapter: _LowRank | None) -> int:
    """Bytes of the copy."""
    dtype = _multiplied_in(linear)
    added = 0 if adapter is None else sum(each.numel() for each in _columns(adapter.up, dtype))
    return (linear.weight.numel() + added) * dtype.itemsize


def _forward(layer: Any, adapter: _LowRank | None) -> Callable[[Tensor], Tensor]:
    linear = _linear(layer)
    dtype = _multiplied_in(linear)
    weight = linear.weight.detach().to(dtype)
    bias = None if linear.bias is None else linear.bias.detach().to(dtype)
    if adapter is None:
        return partial(_multiply, _reorder(weight), bias)
    whole = _reorder(torch.cat([weight, *_columns(adapter.up, dtype)], dim=-1))
    return partial(_multiply_adapted, layer, whole, bias, _reorder(adapter.down))


def _columns(up: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """The columns beside a weight: s B; in bf16 its high part twice and its rest.

    Multiplied with `_entries` they give high · high + high · rest + rest · high; only rest · rest is left out.
    """
    if dtype == torch.float32:
        return [up]
    high = up.to(dtype)
    return [high, high, (up - high).to(dtype)]


def _entries(low: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """The entries beside a row, which `_columns` multiply: A x; in bf16 its high part, its rest and its high part."""
    if dtype == torch.float32:
        return [low]
    high = low.to(dtype)
    return [high, (low - high).to(dtype), high]


def _possible() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _suits(layer: nn.Module) -> bool:
    """Whether it is a plain linear layer in a suitable format, whose `forward` nobody else has replaced."""
    return (
        type(layer) is nn.Linear
        and type(layer.weight) in (Tensor, nn.Parameter)
        and layer.weight.device.type == "cpu"
        and layer.weight.dtype in {torch.float32, torch.bfloat16}
        and _multiplied_in(layer) in ({torch.float32, torch.bfloat16} if multiplies_bf16() else {torch.float32})
        and "forward" not in layer.__dict__
    )


def _multiplied_in(layer: nn.Linear) -> torch.dtype:
    """The format in which a layer multiplies now."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else layer.weight.dtype


def multiplies_bf16() -> bool:
    """Whether this processor has products in bf16, which are two or three times as fast as in fp32."""
    # oneDNN takes bf16 wherever there is AVX-512, and without such products is a third as fast as in fp32.
    capabilities = torch.cpu.get_capabilities()
    if not any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")):
        return False
    takes: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001 - no public name
    return takes


def _reorder(weight: Tensor) -> Tensor:
    laid: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)  # noqa: SLF001 - no public name
    return laid


def _multiply_adapted(layer: Any, weight: Tensor, bias: Tensor | None, down: Tensor, rows: Tensor) -> Tensor:
    if torch.is_autocast_enabled("cpu"):
        rows = rows.to(torch.get_autocast_dtype("cpu"))
    low = _product(down, None, rows.float())
    if layer.disable_adapters:
        # The adapter is off: this is the base model, which a mixture calls in between.
        low = torch.zeros_like(low)
    return _product(weight, bias, torch.cat([rows, *_entries(low, rows.dtype)], dim=-1))


def _multiply(weight: Tensor, bias: Tensor | None, rows: Tensor) -> Tensor:
    if torch.is_autocast_enabled("cpu"):
        rows = rows.to(torch.get_autocast_dtype("cpu"))
    return _product(weight, bias, rows)


def _product(weight: Tensor, bias: Tensor | None, rows: Tensor) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")  # noqa: SLF001 - no public name
    return product
