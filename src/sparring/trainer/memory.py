"""Less memory for training on a processor: freed blocks are kept, gradients lie together, gated layers recompute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sparring.heap import freed_memory_kept

if TYPE_CHECKING:
    from transformers import TrainingArguments


def recomputes_gates(args: TrainingArguments, processes: int) -> bool:
    """Whether gated layers recompute activations, by transformers' arguments and the number of processes."""
    return args.device.type == "cpu" and processes == 1 and not args.gradient_checkpointing


@contextmanager
def memory_saved(model: nn.Module, args: TrainingArguments, processes: int) -> Iterator[None]:
    """Within, training on a processor takes less memory; its steps are the same."""
    with ExitStack() as stack:
        if args.device.type == "cpu":
            stack.enter_context(freed_memory_kept())
        if recomputes_gates(args, processes):
            stack.enter_context(gates_recomputed(model))
        yield


@contextmanager
def gradients_set_aside(model: nn.Module) -> Iterator[None]:
    """Creates the gradients as zeros before the backward passes within, which add to them.

    Otherwise the backward pass of the first part would create them one by one where that part's activations were, and
    the activations of the next part would not fit in between. At the end, gradients that nothing was added to are
    removed, since the optimizer skips a weight without a gradient.
    """
    fresh = [(weight, torch.zeros_like(weight)) for weight in model.parameters() if _lacks_gradient(weight)]
    for weight, gradient in fresh:
        weight.grad = gradient
    try:
        yield
    finally:
        for weight, gradient in fresh:
            # The version counts the in-place changes of a tensor.
            if weight.grad is gradient and gradient._version == 0:  # noqa: SLF001 - no public name
                weight.grad = None


def _lacks_gradient(weight: Tensor) -> bool:
    return weight.requires_grad and weight.grad is None


@contextmanager
def gates_recomputed(model: nn.Module) -> Iterator[None]:
    """Within, gated feed-forward layers, W_d (a(W_g x) ⊙ W_u x), keep only W_g x and W_u x for the backward pass.

    Autograd would also keep a(W_g x) and the product, each as wide as the layer: a quarter of all activations. These
    are recomputed, element by element; no matrix product is.

    Args:
        model: The model, which is in evaluation mode afterwards. Layers that compute anything else are left alone.
    """
    model.eval()
    layers = [module for module in model.modules() if is_gated(module)]
    for layer in layers:
        layer.forward = partial(_keep_inputs, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def is_gated(module: nn.Module) -> bool:
    """Whether a module in evaluation mode is a gated feed-forward layer, judged by its output on a probe."""
    if not looks_gated(module) or "forward" in module.__dict__:
        return False
    weight = next(module.parameters())
    with torch.no_grad():
        probe = torch.linspace(-1.0, 1.0, _linear(module)[0].in_features, dtype=weight.dtype)[None, None]
        # By `forward`, since a call would run hooks of others.
        return torch.equal(module.forward(probe), _gated(module, *_gates(module, probe)))


def looks_gated(module: nn.Module) -> bool:
    """Whether a module has the parts of a gated feed-forward layer, with weights in a floating-point format."""
    linear = _linear(module)
    return callable(getattr(module, "act_fn", None)) and all(
        isinstance(each, nn.Linear) and each.weight.is_floating_point() for each in linear
    )


def _linear(module: Any) -> list[Any]:
    """The layers W_g, W_u and W_d without their adapters; None for a missing one."""
    parts: list[Any] = [getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    return [part.get_base_layer() if hasattr(part, "get_base_layer") else part for part in parts]


def _keep_inputs(layer: Any, hidden: Tensor) -> Tensor:
    gates = _gates(layer, hidden)
    if not torch.is_grad_enabled():
        return _gated(layer, *gates)
    # The checkpoint ends before the product with W_d: everything up to there follows from what is kept.
    result: Tensor = checkpoint(partial(_gated, layer), *gates, use_reentrant=False)
    return result


def _gates(layer: Any, hidden: Tensor) -> tuple[Tensor, Tensor]:
    return layer.gate_proj(hidden), layer.up_proj(hidden)


def _gated(layer: Any, gate: Tensor, up: Tensor) -> Tensor:
    result: Tensor = layer.down_proj(layer.act_fn(gate) * up)
    return result
