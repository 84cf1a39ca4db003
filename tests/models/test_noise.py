"""A model trains as it samples and as its opponent is scored: without the dropout that it came with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from a_run import a_run
from sparring.logprobs import sequence_log_probs
from sparring.models import ModelConfig, load_model
from tiny import tiny_tokenizer

GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512, "initializer_range": 0.3}
SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
# Where a family keeps its rates: in layers, in numbers of its own, in its configuration, in its router.
NOISY: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", GPT2 | {"resid_pdrop": 0.3, "attn_pdrop": 0.3, "embd_pdrop": 0.3}),
    "opt": (
        "OPT",
        {**SHAPE, "ffn_dim": 48, "dropout": 0.3, "attention_dropout": 0.3, "layerdrop": 0.5, "init_std": 0.3}
        | {"max_position_embeddings": 512, "word_embed_proj_dim": 32},
    ),
    "falcon": ("Falcon", {**SHAPE, "hidden_dropout": 0.3, "attention_dropout": 0.3, "initializer_range": 0.3}),
    "llama": ("Llama", SHAPE | {"attention_dropout": 0.3, "initializer_range": 0.3}),
    "mixtral": (
        "Mixtral",
        SHAPE
        | {"num_key_value_heads": 2, "num_local_experts": 4, "router_jitter_noise": 0.5, "initializer_range": 0.3},
    ),
}


def saved(folder: Path, family: str) -> Path:
    prefix, settings = NOISY[family]
    ids = {"vocab_size": 259, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = getattr(transformers, f"{prefix}Config")(**settings, **ids)
        getattr(transformers, f"{prefix}ForCausalLM" if prefix != "GPT2" else "GPT2LMHeadModel")(
            config
        ).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", NOISY)
def test_a_model_in_training_says_what_it_says_in_evaluation(family: str, tmp_path: Path) -> None:
    folder = saved(tmp_path, family)
    model = load_model(ModelConfig(name=str(folder), device="cpu"))
    prompts, responses = [[5, 6, 7]], [[[8, 9, 10, 11, 2]]]
    (as_sampled,) = sequence_log_probs(model, prompts, responses)
    (as_trained,) = sequence_log_probs(model.train(), prompts, responses)
    assert torch.allclose(as_sampled, as_trained, atol=1e-5)
    # As it came it would not have.
    noisy = transformers.AutoModelForCausalLM.from_pretrained(folder).train()
    torch.manual_seed(1)
    (otherwise,) = sequence_log_probs(noisy, prompts, responses)
    assert not torch.allclose(as_sampled, otherwise, atol=1e-2)


def test_the_dropout_of_an_adapter_stays(tmp_path: Path) -> None:
    run = a_run(saved(tmp_path / "model", "llama"), tmp_path / "run", lora={"r": 2, "lora_dropout": 0.25})
    rates = {layer.p for layer in run.policy.model.modules() if isinstance(layer, torch.nn.Dropout)}
    assert rates == {0.25}
