"""What training on a processor keeps: the same gradients as by plain autograd, from less memory."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from families import build
from sparring.objectives import OBJECTIVES
from sparring.trainer import memory
from sparring.trainer.memory import gates_recomputed, gradients_set_aside, is_gated, recomputes_gates
from sparring.trainer.trainer import SelfPlayTrainer
from tiny import quiet_arguments, tiny_model

IDS = torch.arange(3, 40)[None]


def gated_layers(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.eval().modules() if is_gated(module)]


@pytest.mark.parametrize(
    ("family", "layers"), [("llama", 2), ("qwen3", 2), ("gemma3-text", 2), ("cohere", 2), ("gpt2", 0)]
)
def test_gated_layers_are_told_by_what_they_compute(family: str, layers: int) -> None:
    assert len(gated_layers(build(family))) == layers


def test_a_layer_with_the_parts_of_a_gated_one_that_computes_something_else_is_left_alone() -> None:
    model = build("llama")
    own = type("Own", (type(model.model.layers[0].mlp),), {"forward": lambda self, x: self.down_proj(self.up_proj(x))})
    model.model.layers[0].mlp.__class__ = own
    assert gated_layers(model) == [model.model.layers[1].mlp]
    # A forward of the layer's own, as others' hooks set it, is kept.
    model.model.layers[1].mlp.forward = model.model.layers[1].mlp.forward
    assert gated_layers(model) == []


def with_adapter(model: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules=["gate_proj", "down_proj"], lora_dropout=0.5, init_lora_weights=False)
    return get_peft_model(model, config)


def kept_bytes_and_gradients(model: nn.Module) -> tuple[int, dict[str, Tensor]]:
    """What autograd keeps besides the weights, and the gradients; dropout draws the same numbers each time."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def count(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return saved

    model.train().zero_grad()
    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda saved: saved):
        loss = model(IDS).logits.logsumexp(-1).sum()
    held = sum(kept.values())
    loss.backward()
    return held, {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("family", ["llama", "gemma3-text"])
def test_gates_kept_alone_give_the_same_bits(family: str, adapted: bool) -> None:
    model = with_adapter(build(family)) if adapted else build(family)
    plainly, expected = kept_bytes_and_gradients(model)
    with gates_recomputed(model):
        saved, gradients = kept_bytes_and_gradients(model)
    assert expected.keys() == gradients.keys()
    assert all(torch.equal(expected[name], gradients[name]) for name in expected)
    # Of both layers, the activation and the product: 48 numbers a position each.
    wide = 2 * 2 * IDS.shape[1] * 48 * 4
    assert plainly - saved >= wide
    # Afterwards all is as it was.
    assert kept_bytes_and_gradients(model)[0] == plainly


def test_gradients_are_added_to_where_they_are_and_an_unused_weight_has_none() -> None:
    weights = nn.ParameterDict(
        {name: nn.Parameter(torch.tensor([value])) for name, value in {"a": 2.0, "b": 3.0, "c": 5.0}.items()}
    )
    weights["b"].grad = torch.tensor([1.0])
    frozen = weights["c"].requires_grad_(requires_grad=False)
    unused = weights["d"] = nn.Parameter(torch.tensor([7.0]))
    with gradients_set_aside(weights):
        place = weights["a"].grad
        for _ in range(2):
            (weights["a"] * weights["b"]).sum().backward()
    assert weights["a"].grad is place
    assert (weights["a"].grad.item(), weights["b"].grad.item()) == (6.0, 5.0)
    assert frozen.grad is None
    assert unused.grad is None


@pytest.mark.parametrize(
    ("device", "processes", "checkpointing", "expected"),
    [("cpu", 1, False, True), ("cpu", 2, False, False), ("cuda", 1, False, False), ("cpu", 1, True, False)],
)
def test_where_gates_are_recomputed(device: str, processes: int, checkpointing: bool, expected: bool) -> None:
    args = SimpleNamespace(device=torch.device(device), gradient_checkpointing=checkpointing)
    assert recomputes_gates(args, processes) == expected


def test_training_takes_the_same_steps_from_less_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"prompt_ids": [1] * 300, "expert_ids": [40 + n] * 200, "generated_ids": [[50 + n] * 200]} for n in range(4)
    ]

    def trained(name: str) -> dict[str, Tensor]:
        model = tiny_model()
        layers = [module for module in model.modules() if hasattr(module, "gate_proj")]
        trainer = SelfPlayTrainer(
            model,
            objective=OBJECTIVES["spin"](),
            args=quiet_arguments(tmp_path / name, per_device_train_batch_size=2, learning_rate=1e-2),
            train_dataset=rows,
        )
        trainer.train()
        assert all("forward" not in layer.__dict__ for layer in layers)
        return {key: value.clone() for key, value in model.state_dict().items()}

    ours = trained("ours")
    monkeypatch.setattr(memory, "recomputes_gates", lambda *_: False)
    plainly = trained("plainly")
    assert all(torch.equal(ours[name], plainly[name]) for name in plainly)
