"""Two processes with half of a batch each must end with the gradients of one process with all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import distributed
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from launch import together
from sparring.logprobs import sequence_log_probs
from sparring.logprobs.wrappers import forward_through, unwrap
from tiny import tiny_model

PROMPTS = [[1, 40, 50], [1, 41], [1, 42, 51, 52], [1, 43, 53]]
RESPONSES = [[[60, 61, 2], [70, 2]], [[62, 2], [71, 72, 73, 74, 2]], [[63, 64, 2], [75]], [[65, 2], [76, 77, 2]]]


def build(*, lora: bool = False, checkpointing: bool = False) -> Any:
    model = tiny_model()
    model.get_input_embeddings().padding_idx = None
    if lora:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    if checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model.train()


def shard(model: Any) -> Any:
    for layer in unwrap(model).model.layers:
        fully_shard(layer)
    return fully_shard(model)


WRAPPERS: dict[str, Callable[[Any], Any]] = {"ddp": DistributedDataParallel, "fsdp2": shard}


def loss(model: Any, rows: slice, max_tokens: int = 8192) -> torch.Tensor:
    """Each pass holds at most `max_tokens`, so that the processes differ in how many they make."""
    values = torch.stack(sequence_log_probs(model, PROMPTS[rows], RESPONSES[rows], max_tokens=max_tokens))
    return (values[:, 0] - values[:, 1]).square().mean()


def gradients(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            gradient = parameter.grad
            assert gradient is not None, name
            yield name.removeprefix("module."), gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient


def check(rank: int, wrapper: str, options: dict[str, bool]) -> None:
    expected = build(**options)
    loss(expected, slice(0, 4)).backward()
    wanted = dict(gradients(expected))

    model = WRAPPERS[wrapper](build(**options))
    loss(model, slice(2 * rank, 2 * rank + 2), max_tokens=(8, 64)[rank]).backward()
    for name, gradient in gradients(model):
        _close(gradient, wanted[name], f"{wrapper} {options} {name}")

    # A second step, in two halves of which only the last is averaged.
    model.zero_grad()
    for half in range(2):
        rows = slice(2 * rank + half, 2 * rank + half + 1)
        held = model.no_sync() if wrapper == "ddp" and half == 0 else nullcontext()
        with held:
            (loss(model, rows) / 2).backward()
    for name, gradient in gradients(model):
        _close(gradient, wanted[name], f"halves, {wrapper} {name}")


def _close(gradient: torch.Tensor, wanted: torch.Tensor, name: str) -> None:
    # Sums in another order, by other processors' products: their errors are those of the largest terms.
    largest = float(wanted.abs().max())
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5 * max(1.0, largest), msg=f"{name}: {largest}")


def without_a_gradient(rank: int) -> None:
    """The processes need not keep step with DDP, and must score as one process does with either wrapper."""
    with torch.no_grad():
        wanted = torch.stack(sequence_log_probs(build(), PROMPTS, RESPONSES))
        for name, wrap in WRAPPERS.items():
            model = wrap(build().eval())
            rows = slice(0, 4) if rank == 0 else slice(0, 1)
            for _ in range(1 + rank if name == "ddp" else 1):
                found = torch.stack(sequence_log_probs(model, PROMPTS[rows], RESPONSES[rows], max_tokens=16))
            torch.testing.assert_close(found, wanted[rows], rtol=0, atol=1e-5)


def an_error(rank: int) -> None:
    for wrap in WRAPPERS.values():
        model = wrap(build())
        with pytest.raises(ZeroDivisionError):
            forward_through(model, lambda _: 1 / 0)
        ids = torch.tensor([PROMPTS[0]])
        torch.testing.assert_close(model(input_ids=ids).logits, build()(input_ids=ids).logits)


def everything(rank: int) -> None:
    distributed.barrier()
    for wrapper in WRAPPERS:
        for options in ({}, {"lora": True}, {"checkpointing": True}, {"lora": True, "checkpointing": True}):
            check(rank, wrapper, options)
    without_a_gradient(rank)
    an_error(rank)


def test_wrapped_models_get_the_gradients_of_the_whole_batch() -> None:
    together(everything)


def test_a_bare_model_is_handed_over_as_it_is() -> None:
    model = build(lora=True)
    assert forward_through(model, lambda core: core) is unwrap(model) is model.get_base_model()
