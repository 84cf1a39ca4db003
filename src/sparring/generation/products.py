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
    """Within, linear layers in fp32 on a processor multiply with a copy of their weights, laid out as oneDNN reads it.

    A product of a few rows spends much of its time on bringing the weights into that order, again for every token. The
    weights must not change within; the copy is as large as they are, and is made anew each time, so it is never stale.
    Nothing is done for layers of other kinds or formats, under autocast, where oneDNN is missing, or where the copy
    would take too much of the machine's memory.

    Args:
        model: The model; nothing of it is changed in the end.
    """
    layers = [layer for layer in model.modules() if _suits(layer)] if _possible() else []
    if sum(layer.weight.nbytes for layer in layers) > _SHARE * psutil.virtual_memory().total:
        layers = []
    try:
        for layer in layers:
            # The instance's own attribute stands before the class's method.
            layer.forward = partial(_multiply, _reorder(layer.weight.detach()), layer.bias)
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


def _possible() -> bool:
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and not torch.is_autocast_enabled("cpu")
    )


def _suits(layer: nn.Module) -> bool:
    """Whether it is a linear layer and no more; a forward of the layer's own, as hooks of others set it, is kept."""
    return (
        type(layer) is nn.Linear
        and type(layer.weight) in (Tensor, nn.Parameter)
        and layer.weight.dtype == torch.float32
        and layer.weight.device.type == "cpu"
        and "forward" not in layer.__dict__
    )


def _reorder(weight: Tensor) -> Tensor:
    laid: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)  # noqa: SLF001 - no public name
    return laid


def _multiply(weight: Tensor, bias: Tensor | None, rows: Tensor) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")  # noqa: SLF001 - no public name
    return product
