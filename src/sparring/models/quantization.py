"""Linear layers whose weights are held in 4 or 8 bits, by bitsandbytes, as the base of trained adapters (QLoRA).

Every weight is rebuilt in the dtype of its input each time it multiplies, in scoring, sampling and training alike, so
a policy's log ratio to itself is zero. Two features of bitsandbytes would break this, and are avoided:

- On processors with AVX512-BF16 it packs 4-bit weights for a kernel of its own, as soon as a model in evaluation mode
  reads them. That kernel rounds differently and has no gradient, and the packed weights are rebuilt to other ones.
- LLM.int8() also rounds the layers' inputs to 8 bits, with columns of outliers that depend on all rows of a batch, so a
  response's log-probs would depend on the other rows. Here only the weights are held in 8 bits.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from sparring.errors import InputError
from sparring.models.config import Quantization

_LARGEST_8_BIT = 127
# Weights that share a 4-bit scale, and 4-bit scales that share an fp32 one.
_BLOCK, _SCALES = 64, 256


def check_installed() -> None:
    """Raises InputError where bitsandbytes is missing."""
    if importlib.util.find_spec("bitsandbytes") is None:
        fix = "pip install 'sparring[quantization]', or remove model.quantization"
        raise InputError("bitsandbytes is not installed", where="model.quantization", fix=fix)


def check_saved(model_config: Any, quantization: Quantization | None, path: str) -> None:
    """Raises InputError if a model's weights were saved in few bits, since adapters cannot be trained on them here."""
    saved = getattr(model_config, "quantization_config", None)
    if saved is None:
        return
    method = str(dict(saved).get("quant_method", "bitsandbytes"))
    if quantization is not None or "bitsandbytes" in method:
        problem = f"its weights were saved quantised ({method}), and adapters are trained on what is quantised here"
        fix = "take the model that it was made from, with model.quantization: nf4 or int8"
        raise InputError(problem, where=path, fix=fix)


def without_quantization(model: Any, stored: Any) -> None:
    """Turns a model whose weights were expanded from fewer bits into an ordinary one, of its configured number format.

    transformers expands some weights into another format, and would save all in few bits again: rounding would undo the
    training, and the saved configuration would not mention the few bits, so that a loader would read other weights.

    Args:
        model: The model; if its weights are still in few bits, nothing is done.
        stored: Its configuration, as it was loaded.
    """
    if getattr(stored, "quantization_config", None) is None or getattr(model.config, "quantization_config", None):
        return
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.promote_types(parameter.dtype, model.dtype))
    # The record of how the weights were read; without it a model is saved like any other of its family.
    model._weight_conversions = None  # noqa: SLF001 - there is no public way to tell it


def loading_options(quantization: Quantization, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """The arguments of `from_pretrained` that hold a model's linear layers, except its head, in few bits.

    Args:
        quantization: The format.
        dtype: The number format of all computations.
        device: The device; a model in few bits cannot be moved afterwards.
    """
    from transformers import BitsAndBytesConfig

    check_installed()
    if quantization == "int8":
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=quantization,
            bnb_4bit_compute_dtype=dtype,
            bnb_4bit_use_double_quant=True,
        )
    return {"quantization_config": config, "device_map": {"": device}}


def settle(model: Any) -> None:
    """Gives a model that was just loaded with `loading_options` the same arithmetic in all uses; see the module.

    Raises:
        InputError: Nothing in it could be quantised, or its code reads weights directly, not by multiplying.
    """
    layers = [layer for _, layer in quantized_layers(model)]
    if not layers:
        problem = "none of the model's weights are in linear layers, so there is nothing to quantise"
        raise InputError(problem, where="model.quantization", fix="remove it")
    for layer in layers:
        if hasattr(layer, "state"):
            layer.init_8bit_state()
            # A subclass of bitsandbytes' layer, since peft recognises that class.
            layer.__class__ = _weights_in_8_bits()
        else:
            layer.support_avx512bf16_for_cpu = False
    _check_reads(model)


def _check_reads(model: Any) -> None:
    ids = torch.tensor([[3, 4]], device=model.device) % model.config.get_text_config().vocab_size
    try:
        with torch.no_grad():
            model(input_ids=ids, use_cache=False)
    except (RuntimeError, TypeError, ValueError) as error:
        problem = f"{type(model).__name__} reads weights in a way that quantised ones do not allow"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{problem} ({reason})", where="model.quantization", fix="remove it") from error


def quantized_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The layers of a loaded model whose weights are held in few bits, with their names."""
    for name, module in model.named_modules():
        # Only the layer's own parameters, since an adapter around it has the same weight as an attribute.
        own = dict(module.named_parameters(recurse=False))
        if type(own.get("weight")).__name__ in {"Params4bit", "Int8Params"}:
            yield name, module


def check_trained(model: nn.Module, lora: Mapping[str, Any]) -> None:
    """Refuses a LoRA configuration that would train quantised layers themselves, not adapters beside them.

    Args:
        model: The model, without adapters yet.
        lora: Fields of peft's `LoraConfig`.

    Raises:
        InputError: It would train such a layer whole, or as a bare parameter.
    """
    layers = [name for name, _ in quantized_layers(model)]
    for field in ("modules_to_save", "target_parameters"):
        for name in lora.get(field) or ():
            end = name.removesuffix(".weight")
            if any(layer == end or layer.endswith(f".{end}") for layer in layers):
                problem = f"the weights of '{end}' are quantised, and only an adapter beside them can be trained"
                fix = "name it in lora.target_modules instead, or remove model.quantization"
                raise InputError(problem, where=f"lora.{field}", fix=fix)


def rebuilt(layer: Any, dtype: torch.dtype) -> Tensor:
    """The weight `[out, in]` that a layer multiplies inputs of a dtype with."""
    from bitsandbytes.functional import dequantize_4bit

    if hasattr(layer, "state"):
        return _rebuilt_8_bit(layer.state.CB, layer.state.SCB, dtype)
    weight: Tensor = dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(dtype)
    return weight


def restore(plain: nn.Module, quantized: nn.Module) -> None:
    """Copies the rebuilt weights of a quantised model into an ordinary one of the same shapes.

    Args:
        plain: The same model, loaded without quantisation.
        quantized: The quantised model, on which an adapter was trained.
    """
    from transformers.pytorch_utils import Conv1D

    with torch.no_grad():
        for name, layer in quantized_layers(quantized):
            target: Any = plain.get_submodule(name)
            weight = rebuilt(layer, target.weight.dtype)
            target.weight.copy_(weight.t() if isinstance(target, Conv1D) else weight)


def stored_bytes(model: nn.Module, quantization: Quantization | None) -> int:
    """Bytes of a model's weights as they are held, adapters included.

    Args:
        model: The model, as shapes or as it was loaded without quantisation, with or without adapters.
        quantization: The format that it would be held in.
    """
    whole = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    for weight in _to_quantize(model) if quantization is not None else ():
        numbers = weight.numel()
        blocks = -(-numbers // _BLOCK)
        scales = 4 * len(weight) if quantization == "int8" else blocks + 4 * -(-blocks // _SCALES)
        whole += scales + (numbers if quantization == "int8" else -(-numbers // 2)) - numbers * weight.element_size()
    return whole


def largest_rebuilt(model: nn.Module, quantization: Quantization | None) -> int:
    """Bytes of the largest weight when it is rebuilt; arguments as of `stored_bytes`."""
    if quantization is None:
        return 0
    return max((weight.numel() * weight.element_size() for weight in _to_quantize(model)), default=0)


def share_quantized(model: nn.Module) -> float:
    """The share of a model's weights, without adapters, that would be held in few bits."""
    whole = sum(weight.numel() for name, weight in model.named_parameters() if "lora_" not in name)
    return sum(weight.numel() for weight in _to_quantize(model)) / whole


def _to_quantize(model: Any) -> list[Tensor]:
    """The weights that transformers would quantise, by its own rule; without those of adapters."""
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers.base import get_keys_to_not_convert
    from transformers.quantizers.quantizers_utils import should_convert_module

    core = model.get_base_model() if hasattr(model, "get_base_model") else model
    # The names without the parts that an adapter has inserted.
    kept = [name.replace(".base_layer", "") for name in get_keys_to_not_convert(core)]
    kept += core._keep_in_fp32_modules or []  # noqa: SLF001 - as transformers does
    found = []
    for name, module in core.named_modules():
        linear = type(module) is nn.Linear or isinstance(module, Conv1D)
        if linear and "lora_" not in name and should_convert_module(name.replace(".base_layer", ""), kept):
            found.append(module.weight)
    return found


def _rebuilt_8_bit(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    return weight.to(dtype).mul_(scale[:, None] / _LARGEST_8_BIT)


class _Multiply(torch.autograd.Function):
    """The product x Wᵀ with an 8-bit W; the backward pass rebuilds W again, so that nothing large is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(weight, scale)
        return functional.linear(x, _rebuilt_8_bit(weight, scale, x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        weight, scale = ctx.saved_tensors
        return gradient @ _rebuilt_8_bit(weight, scale, gradient.dtype), None, None


@functools.cache
def _weights_in_8_bits() -> type:
    """A layer of bitsandbytes that holds only its weight in 8 bits; defined here, since that package may be missing."""
    from bitsandbytes.nn import Linear8bitLt

    class WeightsIn8Bits(Linear8bitLt):
        def forward(self, x: Tensor) -> Tensor:
            product: Tensor = _Multiply.apply(x, self.state.CB, self.state.SCB)
            return product if self.bias is None else product + self.bias.to(product.dtype)

    return WeightsIn8Bits
