"""Weights in 4 and 8 bits: one arithmetic, whatever the layers' sizes and whatever a row is scored beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, MambaConfig, MambaForCausalLM, MixtralConfig, MixtralForCausalLM

from families import FAMILIES, PROMPTS, RESPONSES, build
from sparring.errors import InputError
from sparring.logprobs import check_log_probs, per_token_log_probs, sequence_log_probs
from sparring.models import ModelConfig, load_config, load_model
from sparring.models.quantization import quantized_layers, restore, share_quantized, stored_bytes
from tiny import tiny_model

KINDS = ["nf4", "int8"]


def loaded(folder: Path, quantization: Any, dtype: Any = "float32") -> Any:
    return load_model(ModelConfig(name=str(folder), device="cpu", dtype=dtype, quantization=quantization))


def saved(folder: Path, **sizes: Any) -> Path:
    tiny_model(**({"hidden_size": 128, "intermediate_size": 256} | sizes)).save_pretrained(folder)
    return folder


def with_adapter(model: Any, **fields: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    settings = {"target_modules": "all-linear", "r": 4, "task_type": "CAUSAL_LM"} | fields
    torch.manual_seed(0)
    adapted = get_peft_model(model, LoraConfig(**settings)).eval()
    with torch.no_grad():
        for weight in adapted.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn_like(weight))
    return adapted


def scores(model: Any) -> torch.Tensor:
    """Log-probs of all tokens under the model as it stands, in evaluation or in training."""
    values = per_token_log_probs(model, PROMPTS, RESPONSES)
    return torch.cat([tokens.detach() for answers in values for tokens in answers])


def gradient(model: Any) -> torch.Tensor:
    model.train()
    # Squares, so that the gradient depends on the values.
    sum((values**2).sum() for values in sequence_log_probs(model, PROMPTS, RESPONSES)).backward()  # type: ignore[union-attr]
    found = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.requires_grad])
    model.zero_grad()
    model.eval()
    return found


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_scoring_computes_as_training_does(kind: str, dtype: str, tmp_path: Path) -> None:
    """Also after evaluation and sampling have read the weights, at which bitsandbytes' own layers repack them."""
    model = with_adapter(loaded(saved(tmp_path / "model"), kind, dtype))
    with torch.no_grad():
        scored = scores(model)
    model.train()
    assert torch.equal(scores(model), scored)
    model.eval()
    model.generate(input_ids=torch.tensor([[5, 6, 7]]), max_new_tokens=4, do_sample=False, pad_token_id=0)
    with torch.no_grad():
        assert torch.equal(scores(model), scored)
    model.train()
    assert torch.equal(scores(model), scored)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_does_not_depend_on_its_neighbours(kind: str, tmp_path: Path) -> None:
    """Outlying inputs too, over which LLM.int8() would split the columns of a whole batch."""
    model = loaded(saved(tmp_path / "model"), kind)
    with torch.no_grad():
        model.get_input_embeddings().weight[50] *= 40.0
        packed = scores(model)
        alone = [
            per_token_log_probs(model, [prompt], [[answer]])[0][0]
            for prompt, answers in zip(PROMPTS, RESPONSES, strict=True)
            for answer in answers
        ]
    assert torch.allclose(packed, torch.cat(alone), atol=2e-5, rtol=1e-5)


# 40 is no multiple of the 64 weights that share a scale.
@pytest.mark.parametrize("hidden", [32, 40, 128])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_model_with_the_rebuilt_weights(kind: str, hidden: int, tmp_path: Path) -> None:
    """Values and gradients, with biases that are trained, and with checkpointing."""
    folder = saved(tmp_path / "model", hidden_size=hidden, intermediate_size=2 * hidden, attention_bias=True)
    plain, quantized = loaded(folder, None), loaded(folder, kind)
    check_log_probs(quantized)
    with torch.no_grad():
        moved = (scores(plain) - scores(quantized)).abs().max()
        restore(plain, quantized)
        assert torch.equal(scores(plain), scores(quantized))
    assert moved > 1e-3
    plain, quantized = (with_adapter(model, bias="all") for model in (plain, quantized))
    assert torch.allclose(gradient(plain), gradient(quantized), rtol=1e-4, atol=1e-3)
    expected = gradient(quantized)
    quantized.gradient_checkpointing_enable()
    assert torch.equal(gradient(quantized), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_families(family: str, kind: str, tmp_path: Path) -> None:
    build(family).save_pretrained(tmp_path)
    plain, quantized = loaded(tmp_path, None), loaded(tmp_path, kind)
    check_log_probs(quantized)
    restore(plain, quantized)
    with torch.no_grad():
        assert torch.allclose(scores(plain), scores(quantized), atol=1e-4, rtol=0)
    assert len([*quantized_layers(quantized)]) > 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [True, False])
def test_bytes_are_known_from_the_shapes(kind: Any, dtype: str, tied: bool, tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", tie_word_embeddings=tied)
    plain, quantized = loaded(folder, None, dtype), loaded(folder, kind, dtype)
    held = sum(weight.numel() * weight.element_size() for weight in quantized.parameters())
    for _, layer in quantized_layers(quantized):
        state = getattr(layer.weight, "quant_state", None)
        scales = [layer.state.SCB] if state is None else [state.absmax, state.state2.absmax]
        held += sum(scale.numel() * scale.element_size() for scale in scales)
    assert stored_bytes(plain, kind) == held
    assert stored_bytes(plain, None) > held
    adapted = with_adapter(plain)
    adapters = sum(weight.numel() * weight.element_size() for weight in adapted.parameters() if weight.requires_grad)
    assert stored_bytes(adapted, kind) == held + adapters
    shapes = 2 * (2 * 128 * 128 + 2 * 64 * 128 + 3 * 128 * 256)
    whole = shapes + (1 if tied else 2) * 259 * 128 + 5 * 128
    assert share_quantized(adapted) == shapes / whole


def test_experts_that_are_no_linear_layers_keep_their_format(tmp_path: Path) -> None:
    """transformers holds the experts of a layer as one tensor, which bitsandbytes leaves as it is."""
    shape = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4}
    MixtralForCausalLM(MixtralConfig(**shape, **heads)).save_pretrained(tmp_path)
    plain, quantized = loaded(tmp_path, None), loaded(tmp_path, "nf4")
    assert not any("experts" in name for name, _ in quantized_layers(quantized))
    assert share_quantized(plain) < 0.2
    restore(plain, quantized)
    with torch.no_grad():
        assert torch.allclose(scores(plain), scores(quantized), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_reads_weights_itself_is_refused(kind: str, tmp_path: Path) -> None:
    shape = {"vocab_size": 97, "hidden_size": 32, "state_size": 4, "num_hidden_layers": 2}
    MambaForCausalLM(MambaConfig(**shape)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="reads weights in a way that quantised ones do not allow"):
        loaded(tmp_path, kind)


def test_what_was_saved_quantised_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    packed = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": packed}))
    for quantization in (None, "nf4"):
        with pytest.raises(InputError, match=r"saved quantised \(bitsandbytes\)"):
            load_config(ModelConfig(name=str(folder), quantization=quantization))
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(InputError, match=r"saved quantised \(gptq\)"):
        load_config(ModelConfig(name=str(folder), quantization="int8"))


def test_without_bitsandbytes_the_cure_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(tmp_path / "model")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"not installed.*\n.*pip install 'sparring\[quantization\]'"):
        loaded(folder, "nf4")


def test_a_model_without_linear_layers_is_refused(tmp_path: Path) -> None:
    from transformers import GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(vocab_size=97, n_embd=32, n_head=4, n_layer=0)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="nothing to quantise"):
        loaded(tmp_path, "int8")
