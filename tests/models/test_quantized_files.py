"""Models whose files hold weights in few bits, which are read into a number format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import GptOssConfig, GptOssForCausalLM

from sparring.models import ModelConfig, load_model
from tiny import tiny_model

Weights = dict[str, Tensor]
FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic", "fmt": "e4m3"}
MXFP4 = {"quant_method": "mxfp4", "modules_to_not_convert": ["self_attn", "router", "embed_tokens", "lm_head"]}


def in_fp8(weights: Weights) -> Weights:
    """As DeepSeek-V3 and Qwen3-FP8 have them: eight bits, and a scale for each block."""
    found = dict(weights)
    for name, weight in weights.items():
        if "proj" in name:
            scale = weight.abs().max() / 448
            found |= {name: (weight / scale).to(torch.float8_e4m3fn), f"{name}_scale_inv": scale.reshape(1, 1)}
    return found


def in_mxfp4(weights: Weights) -> Weights:
    """As GPT-OSS has its experts: two weights a byte, and a power of two for each 32; what they hold is drawn."""
    found = dict(weights)
    for name in [name for name in weights if name.endswith(("down_proj", "gate_up_proj"))]:
        experts, size, others = found.pop(name).shape
        shape = (experts, others, size // 32)
        found[f"{name}_blocks"] = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8)
        found[f"{name}_scales"] = torch.full(shape, 126, dtype=torch.uint8)
    return found


def gpt_oss() -> GptOssForCausalLM:
    settings: dict[str, Any] = {
        "vocab_size": 97,
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "head_dim": 16,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "max_position_embeddings": 64,
    }
    return GptOssForCausalLM(GptOssConfig(**settings))


@pytest.mark.parametrize(
    ("build", "quantized", "described"),
    [(lambda: tiny_model(hidden_size=64), in_fp8, FP8), (gpt_oss, in_mxfp4, MXFP4)],
)
def test_what_was_read_out_of_few_bits_is_saved_as_it_is(
    tmp_path: Path, build: Callable[[], Any], quantized: Callable[[Weights], Weights], described: dict[str, Any]
) -> None:
    build().save_pretrained(tmp_path / "model")
    file, settings = tmp_path / "model" / "model.safetensors", tmp_path / "model" / "config.json"
    save_file(quantized(load_file(file)), file, metadata={"format": "pt"})
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"quantization_config": described}))

    model = load_model(ModelConfig(name=str(tmp_path / "model"), device="cpu"))
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1e-4)  # As a training does: less than few bits can hold.
    model.save_pretrained(tmp_path / "policy")
    again = load_model(ModelConfig(name=str(tmp_path / "policy"), device="cpu"))
    assert all(torch.equal(weight, again.get_parameter(name)) for name, weight in model.named_parameters())
