"""Reading a prompt once for K samples changes nothing of what is sampled."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
import transformers

from families import FAMILIES
from families import build as family
from sparring.examples import EncodedExample
from sparring.generation import generation_config, generator
from sparring.generation.prefix import read_once
from sparring.generation.protocol import GeneratorParts
from tiny import tiny_tokenizer

PROMPTS = ([1, 5, 9, 14, 3, 8, 8, 30, 31], [7], [1, 30, 31, 32])
COPIES = 3


def sample(model: Any) -> list[list[int]]:
    batch = [
        EncodedExample(index=number, prompt_ids=list(ids), expert_ids=[5], prompt="", response="")
        for number, ids in enumerate(PROMPTS)
    ]
    parts = GeneratorParts(model=model, tokenizer=tiny_tokenizer(), stop_ids=(2,), max_new_tokens=8)
    sampler = generator(generation_config(samples_per_prompt=COPIES), parts)
    return [row.response_ids for row in sampler.sample(batch, seed=1)]


def hybrid() -> Any:
    """Attention in one layer, a recurrent state in the other: its cache is not keys and values alone."""
    config = transformers.Qwen3NextConfig(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        layer_types=["linear_attention", "full_attention"],
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        num_experts=0,
        mlp_only_layers=[0, 1],
    )
    return transformers.Qwen3NextForCausalLM(config).eval()


@pytest.mark.parametrize("name", FAMILIES)
def test_the_samples_are_those_of_copied_prompts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = family(name)
    shared = sample(model)
    ids = torch.tensor([PROMPTS[0]])
    assert read_once(model, ids, torch.ones_like(ids), COPIES) is not None
    monkeypatch.setattr("sparring.generation.transformers.read_once", lambda *_: None)
    assert shared == sample(model)
    assert len({tuple(row) for row in shared}) > len(PROMPTS)


def test_a_prompt_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = family("llama"), []
    # It is found out first how to decode.
    sample(model)
    read = model.forward

    @functools.wraps(read)
    def counting(*args: Any, **inputs: Any) -> Any:
        rows.append(inputs["input_ids"].shape)
        return read(*args, **inputs)

    monkeypatch.setattr(model, "forward", counting)
    sample(model)
    assert rows[0] == (len(PROMPTS), len(PROMPTS[0]) - 1)
    assert all(shape == (len(PROMPTS) * COPIES, 1) for shape in rows[1:])


def test_what_cannot_be_copied_is_not_shared() -> None:
    model = hybrid()
    ids = torch.tensor([PROMPTS[0]])
    assert read_once(model, ids, torch.ones_like(ids), COPIES) is None
    assert len(sample(model)) == len(PROMPTS) * COPIES


def test_there_is_nothing_to_share_of_one_sample_or_one_token() -> None:
    model = family("llama")
    assert read_once(model, torch.tensor([PROMPTS[0]]), torch.ones(1, 9, dtype=torch.long), 1) is None
    assert read_once(model, torch.tensor([[7]]), torch.ones(1, 1, dtype=torch.long), COPIES) is None
