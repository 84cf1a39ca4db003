"""Data-parallel wrappers: what is under them, and how to compute under them so that they notice.

DDP, FSDP and DeepSpeed act in hooks around the forward pass of the module that they wrap: there they gather shards
and prepare the averaging of gradients. Whoever calls a part of the wrapped model directly passes these hooks by, and
its gradients are silently those of one process. `forward_through` runs any computation inside that forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from sparring.errors import InputError

_T = TypeVar("_T")
_B = TypeVar("_B")


def unwrap(model: Any) -> Any:
    """The causal language model under data-parallel and peft wrappers; injected adapters stay active.

    Raises:
        InputError: The adapter is no part of that model, but puts tokens of its own before every text.
    """
    model = _inner(model)
    if not hasattr(model, "get_base_model"):
        return model
    if any(config.is_prompt_learning for config in model.peft_config.values()):
        raise InputError(
            "its adapter learns a prompt, which log-probs here would leave out",
            where="model",
            fix="take one that changes the weights, such as peft.LoraConfig",
        )
    return model.get_base_model()


def computes_in_16_bits(core: Any) -> bool:
    """Whether a bare model's forward pass, here and now, has the precision of 16 bits: its weights', or autocast's."""
    weight = core.get_input_embeddings().weight
    return weight.element_size() == 2 or torch.is_autocast_enabled(weight.device.type)


def forward_through(model: Any, function: Callable[[Any], _T]) -> _T:
    """Computes `function(unwrap(model))` as if it were the model's forward pass.

    For the one call, `function` stands in for the wrapped module's `forward`; the wrapper is then called, and so do
    its hooks fire, once, around all that `function` does.

    Args:
        model: A causal language model, bare, or wrapped by peft, a data-parallel wrapper, `fully_shard`, or several.
        function: Takes the bare causal language model. Tensors that need a gradient are in what it returns: alone,
            or in lists, tuples or mappings, where the wrapper can find them.

    Returns:
        What `function` returned.
    """
    core = unwrap(model)
    if not _acts_in_forward(model):
        return function(core)
    module = _inner(model)
    shadowed = module.__dict__.get("forward")

    def restore() -> None:
        if shadowed is None:
            module.__dict__.pop("forward", None)
        else:
            module.forward = shadowed

    def stand_in(work: Callable[[Any], _T]) -> _T:
        # The function itself may call the module.
        restore()
        return work(core)

    module.forward = stand_in
    try:
        result: _T = model(function)
    finally:
        restore()
    return result


def in_passes(
    model: Any, batches: Sequence[_B], score: Callable[[Any, _B], Sequence[Tensor]]
) -> list[Sequence[Tensor]]:
    """`score(unwrap(model), batch)` of every batch, within one call of `forward_through`.

    The processes of a sharded model gather each layer together, so those that have fewer batches repeat their last
    one, and give the result no weight.

    Args:
        model: As for `forward_through`.
        batches: What to score, at least one where the model is wrapped; the processes may differ in how many.
        score: One forward pass, from the bare model and a batch to tensors.
    """
    passes = _passes_together(model, len(batches))

    def compute(core: Any) -> list[Sequence[Tensor]]:
        results = [score(core, batch) for batch in batches]
        for _ in range(passes - len(batches)):
            first, *others = results[-1]
            results[-1] = [first + 0.0 * score(core, batches[-1])[0], *others]
        return results

    return forward_through(model, compute)


def _passes_together(model: Any, passes: int) -> int:
    """The most that any process of a sharded model has; `passes` itself where weights are whole."""
    if not _is_sharded(model):
        return passes
    most = torch.tensor(passes, device=next(unwrap(model).parameters()).device)
    distributed.all_reduce(most, distributed.ReduceOp.MAX)
    return int(most)


def _inner(model: Any) -> Any:
    while hasattr(model, "module"):
        model = model.module
    return model


def _acts_in_forward(model: Any) -> bool:
    if not _is_distributed():
        return False
    if isinstance(model, nn.parallel.DistributedDataParallel):
        # Without a gradient there is nothing to average, and nothing for the other processes to wait for.
        return torch.is_grad_enabled()
    return hasattr(model, "module") or _is_sharded(model)


def _is_sharded(model: Any) -> bool:
    if not _is_distributed():
        return False
    from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

    # DeepSpeed marks the parameters that its stage 3 shards.
    return isinstance(model, FSDPModule | FullyShardedDataParallel) or any(
        hasattr(parameter, "ds_id") for parameter in unwrap(model).parameters()
    )


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()
