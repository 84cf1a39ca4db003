"""Weights that are laid out multiply as they did, and nothing of the model is changed in the end."""

from __future__ import annotations

from typing import Any

import psutil
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from families import FAMILIES
from families import build as family
from sparring.generation import products
from sparring.generation.products import laid_out
from tiny import tiny_model


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 96), (5, 96), (3, 4, 96), (2, 1, 96), (300, 96)])
def test_products_are_those_of_the_layer(shape: tuple[int, ...], bias: bool) -> None:
    layer, rows = nn.Linear(96, 130, bias=bias), torch.randn(shape)
    exact = torch.nn.functional.linear(rows.double(), layer.weight.double(), layer.bias.double() if bias else None)
    with laid_out(layer), torch.no_grad():
        assert "forward" in layer.__dict__
        found = layer(rows)
    assert found.shape == exact.shape
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-5)
    assert "forward" not in layer.__dict__


@pytest.mark.parametrize("capabilities", [{"avx512_f": True}, {"avx512_f": True, "avx512_bf16": False}])
def test_a_processor_without_products_in_bf16_multiplies_in_fp32(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool]
) -> None:
    """Though oneDNN takes bf16 where there is AVX-512 of any kind."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert not products.multiplies_bf16()


@pytest.mark.skipif(not products.multiplies_bf16(), reason="this processor has no products in bf16")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("autocast", [True, False])
def test_products_in_bf16_are_as_exact_as_the_layers(autocast: bool, bias: bool) -> None:
    layer = nn.Linear(96, 130, bias=bias, dtype=torch.float32 if autocast else torch.bfloat16)
    rows = torch.randn(3, 4, 96, dtype=layer.weight.dtype)
    exact = torch.nn.functional.linear(*(each.bfloat16().double() for each in (rows, layer.weight)))
    exact = exact if layer.bias is None else exact + layer.bias.bfloat16().double()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast), laid_out(layer), torch.no_grad():
        assert "forward" in layer.__dict__
        found = layer(rows)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=2.0**-7, atol=2.0**-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_processor_without_products_in_bf16_gets_none(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    monkeypatch.setattr(products, "multiplies_bf16", lambda: False)
    assert changed(nn.Linear(4, 4, dtype=dtype)) == (dtype == torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert not changed(nn.Linear(4, 4, dtype=dtype))


def test_weights_that_were_trained_in_between_are_laid_out_anew() -> None:
    layer, rows = nn.Linear(64, 64), torch.randn(3, 64)
    for _ in range(2):
        with laid_out(layer), torch.no_grad():
            torch.testing.assert_close(layer(rows), torch.nn.functional.linear(rows, layer.weight, layer.bias))
        with torch.no_grad():
            layer.weight.mul_(-3.0)


@pytest.mark.parametrize("name", FAMILIES)
def test_models_say_the_same(name: str) -> None:
    model, ids = family(name), torch.tensor([[1, 5, 9, 14, 3]])
    with torch.no_grad():
        plain = model(input_ids=ids).logits
        with laid_out(model):
            torch.testing.assert_close(model(input_ids=ids).logits, plain, rtol=1e-4, atol=1e-4)
        assert torch.equal(model(input_ids=ids).logits, plain)


def test_adapters_stay_active() -> None:
    model = get_peft_model(tiny_model(), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.5)
        ids = torch.tensor([[1, 5, 9]])
        plain = model(input_ids=ids).logits
        with laid_out(model):
            torch.testing.assert_close(model(input_ids=ids).logits, plain, rtol=1e-4, atol=1e-4)


def an_adapter(dtype: torch.dtype = torch.float32, *, bias: bool = False, **settings: Any) -> Any:
    """A layer of peft, 96 to 130, whose adapter says something."""
    model = nn.Sequential(nn.Linear(96, 130, bias=bias, dtype=dtype))
    layer = get_peft_model(model, LoraConfig(target_modules=["0"], r=4, lora_alpha=12, **settings)).eval().model[0]
    with torch.no_grad():
        layer.lora_B["default"].weight.normal_(std=0.5)
    return layer


def exact_sum(layer: Any, rows: torch.Tensor) -> torch.Tensor:
    """W x + 3 B A x + b in fp64."""
    linear, down, up = layer.base_layer, layer.lora_A["default"].weight, layer.lora_B["default"].weight
    whole = linear.weight.double() + 3.0 * up.double() @ down.double()
    return torch.nn.functional.linear(rows.double(), whole, None if linear.bias is None else linear.bias.double())


@pytest.mark.parametrize("bias", [True, False])
def test_an_adapter_is_multiplied_with_its_layer_at_once(bias: bool) -> None:
    layer, rows = an_adapter(bias=bias), torch.randn(3, 4, 96)
    with laid_out(layer), torch.no_grad():
        assert "forward" in layer.__dict__
        assert "forward" not in layer.base_layer.__dict__
        found = layer(rows)
        layer.enable_adapters(enabled=False)
        base = layer(rows)
        layer.enable_adapters(enabled=True)
    torch.testing.assert_close(found.double(), exact_sum(layer, rows), rtol=0, atol=1e-4)
    torch.testing.assert_close(base, layer.base_layer(rows), rtol=0, atol=1e-5)
    assert "forward" not in layer.__dict__


@pytest.mark.skipif(not products.multiplies_bf16(), reason="this processor has no products in bf16")
def test_an_adapter_in_bf16_is_rounded_once() -> None:
    """Peft rounds the layer's product and then the sum; so the error here is the smaller one."""
    layer, rows = an_adapter(torch.bfloat16), torch.randn(50, 96).bfloat16()
    exact = exact_sum(layer, rows)
    with torch.no_grad():
        plain = layer(rows)
        with laid_out(layer):
            found = layer(rows)
    assert found.dtype == plain.dtype == torch.bfloat16
    once = (exact.bfloat16().double() - exact).norm()
    assert (found.double() - exact).norm() < 1.01 * once < (plain.double() - exact).norm()


def test_an_adapter_that_does_more_is_left_to_peft() -> None:
    for settings in ({"use_dora": True}, {"lora_bias": True}):
        layer = an_adapter(bias=True, **settings)
        with laid_out(layer):
            assert "forward" not in layer.__dict__
            assert "forward" in layer.base_layer.__dict__
    for layer in (an_adapter(lora_dropout=0.5).train(), an_adapter()):
        layer.merge() if not layer.training else None
        with laid_out(layer):
            assert "forward" not in layer.__dict__


def changed(layer: nn.Linear) -> bool:
    with laid_out(layer):
        return "forward" in layer.__dict__


class Other(nn.Linear):
    """A layer of another kind, which may do more than multiply."""


def test_what_does_not_suit_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert changed(nn.Linear(4, 4))
    assert not changed(nn.Linear(4, 4, dtype=torch.float16))
    assert not changed(Other(4, 4))
    with torch.autocast("cpu", torch.float16):
        assert not changed(nn.Linear(4, 4))
    hooked: Any = nn.Linear(4, 4)
    hooked.forward = own = lambda rows: rows
    with laid_out(hooked):
        assert hooked.forward is own
    assert hooked.forward is own


def test_a_copy_that_would_fill_the_memory_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory:
        total = 8 * 4 * 16

    monkeypatch.setattr(products.psutil, "virtual_memory", Memory)
    assert changed(nn.Linear(4, 4))
    assert not changed(nn.Linear(4, 5))
    assert psutil.virtual_memory is Memory


def test_the_layers_come_back_after_a_failure() -> None:
    layer = nn.Linear(4, 4)
    with pytest.raises(RuntimeError, match="boom"), laid_out(layer):
        raise RuntimeError("boom")
    assert "forward" not in layer.__dict__
