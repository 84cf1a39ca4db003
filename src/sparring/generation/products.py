"""Products with a model's weights, which are laid out once for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psutil
import torch
from torch import Tensor, nn

# The copy may take this share of the machine's memory; weights that are larger are multiplied as they lie.
_SHARE = 1 / 8


@contextmanager
def laid_out(model: Any) -> Iterator[None]:
    """Within, linear layers on a processor multiply with a copy of their weights, laid out as oneDNN reads it.

    A product of a few rows spends much of its time on bringing the weights into that order, again for every token;
    under autocast on rounding them too. The weights must not change within; the copy is made anew each time, so it is
    never stale. Layers multiply in fp32, or in bf16 on processors that do so. Nothing is done for layers of other kinds
    or formats, where oneDNN is missing, or where the copy would take too much of the machine's memory.

    Args:
        model: The model; nothing of it is changed in the end.
    """
    layers = [layer for layer in model.modules() if _suits(layer)] if _possible() else []
    size = sum(layer.weight.numel() * _multiplied_in(layer).itemsize for layer in layers)
    if size > _SHARE * psutil.virtual_memory().total:
        layers = []
    try:
        for layer in layers:
            dtype = _multiplied_in(layer)
            bias = None if layer.bias is None else layer.bias.detach().to(dtype)
            # The instance's own attribute stands before the class's method.
            layer.forward = partial(_multiply, _reorder(layer.weight.detach().to(dtype)), bias)
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


def _possible() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _suits(layer: nn.Module) -> bool:
    """Whether it is a linear layer and no more; a forward of the layer's own, as hooks of others set it, is kept."""
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
    """Whether this processor has products in bf16, of which it makes two or three times as many as in fp32."""
    has: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001 - no public name
    return has


def _reorder(weight: Tensor) -> Tensor:
    laid: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)  # noqa: SLF001 - no public name
    return laid


def _multiply(weight: Tensor, bias: Tensor | None, rows: Tensor) -> Tensor:
    if torch.is_autocast_enabled("cpu"):
        rows = rows.to(torch.get_autocast_dtype("cpu"))
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")  # noqa: SLF001 - no public name
    return product
