"""Data-parallel and peft wrappers: the model inside, and how to compute with it so that the wrappers' hooks run.

DDP, FSDP and DeepSpeed act in hooks around the forward pass of the module that they wrap: there they gather shards
and prepare the averaging of gradients. A call of a part of the wrapped model bypasses these hooks, and its gradients
are silently those of one process. `forward_through` runs any computation inside that forward pass.
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
    """The causal language model inside data-parallel and peft wrappers; adapters in its layers stay active.

    Raises:
        InputError: The adapter is not in its layers, but puts virtual tokens before every text (prompt learning).
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
    """Whether a bare model now computes in 16 bits, by its weights or by autocast."""
    weight = core.get_input_embeddings().weight
    return weight.element_size() == 2 or torch.is_autocast_enabled(weight.device.type)


def forward_through(model: Any, function: Callable[[Any], _T]) -> _T:
    """Computes `function(unwrap(model))` as if it were the model's forward pass.

    For this one call `function` replaces the wrapped module's `forward`, and the wrapper is called; so its hooks run
    once, around all that `function` does.

    Args:
        model: A causal language model, bare, or wrapped by peft, a data-parallel wrapper, `fully_shard`, or several.
        function: Takes the bare causal language model. It must return the tensors that need a gradient alone or in
            lists, tuples or mappings, where the wrapper can find them.

    Returns:
        The result of `function`.
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
        # Restored first, since the function itself may call the module.
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

    The processes of a sharded model gather each layer together, so a process with fewer batches scores its last one
    again, and multiplies the result by zero.

    Args:
        model: As for `forward_through`.
        batches: The batches, at least one where the model is wrapped; processes may have different numbers of them.
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
    """The most passes that any process of a sharded model has; `passes` itself where the model is not sharded."""
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
