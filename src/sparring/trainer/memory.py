"""What training on a processor keeps in memory: what it freed, gradients in one place, gated layers' inputs alone."""

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
    """Whether so many processes train gated layers that keep their inputs alone, by transformers' arguments."""
    return args.device.type == "cpu" and processes == 1 and not args.gradient_checkpointing


@contextmanager
def memory_saved(model: nn.Module, args: TrainingArguments, processes: int) -> Iterator[None]:
    """Trains inside in less memory, where that is a processor's; the steps are the same."""
    with ExitStack() as stack:
        if args.device.type == "cpu":
            stack.enter_context(freed_memory_kept())
        if recomputes_gates(args, processes):
            stack.enter_context(gates_recomputed(model))
        yield


@contextmanager
def gradients_set_aside(model: nn.Module) -> Iterator[None]:
    """Makes the gradients, zeros, before the backward passes inside, which add to them.

    Made one by one in the backward pass of a first part, they would lie where that part's activations were, and those
    of the next part would no longer fit in between. A gradient that nothing was added to is gone in the end: the
    optimizer leaves a weight without one alone.
    """
    fresh = [(weight, torch.zeros_like(weight)) for weight in model.parameters() if _lacks_gradient(weight)]
    for weight, gradient in fresh:
        weight.grad = gradient
    try:
        yield
    finally:
        for weight, gradient in fresh:
            # The version counts what was done to a tensor in place.
            if weight.grad is gradient and gradient._version == 0:  # noqa: SLF001 - no public name
                weight.grad = None


def _lacks_gradient(weight: Tensor) -> bool:
    return weight.requires_grad and weight.grad is None


@contextmanager
def gates_recomputed(model: nn.Module) -> Iterator[None]:
    """Lets gated feed-forward layers, W_d (a(W_g x) ⊙ W_u x), keep W_g x and W_u x alone for the backward pass.

    Autograd would keep a(W_g x) and the product too, each as wide as the layer: a quarter of all activations. They are
    computed again, number by number, and no product of matrices is.

    Args:
        model: The model. Its layers that compute anything else are left as they are. It is in evaluation mode after.
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
    """Whether a module, in evaluation mode, is a gated feed-forward layer, as its output on a probe says."""
    if not looks_gated(module) or "forward" in module.__dict__:
        return False
    weight = next(module.parameters())
    with torch.no_grad():
        probe = torch.linspace(-1.0, 1.0, _linear(module)[0].in_features, dtype=weight.dtype)[None, None]
        # Not called, which would run hooks of others.
        return torch.equal(module.forward(probe), _gated(module, *_gates(module, probe)))


def looks_gated(module: nn.Module) -> bool:
    """Whether a module has the parts of a gated feed-forward layer, their weights in a floating-point format."""
    linear = _linear(module)
    return callable(getattr(module, "act_fn", None)) and all(
        isinstance(each, nn.Linear) and each.weight.is_floating_point() for each in linear
    )


def _linear(module: Any) -> list[Any]:
    """W_g, W_u and W_d, without their adapters; None in the place of one that is not there."""
    parts: list[Any] = [getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    return [part.get_base_layer() if hasattr(part, "get_base_layer") else part for part in parts]


def _keep_inputs(layer: Any, hidden: Tensor) -> Tensor:
    gates = _gates(layer, hidden)
    if not torch.is_grad_enabled():
        return _gated(layer, *gates)
    # What is computed again ends where all is there that was kept, so before the product with W_d.
    result: Tensor = checkpoint(partial(_gated, layer), *gates, use_reentrant=False)
    return result


def _gates(layer: Any, hidden: Tensor) -> tuple[Tensor, Tensor]:
    return layer.gate_proj(hidden), layer.up_proj(hidden)


def _gated(layer: Any, gate: Tensor, up: Tensor) -> Tensor:
    result: Tensor = layer.down_proj(layer.act_fn(gate) * up)
    return result
