"""Packed rows against padded rows: the same numbers and gradients, for every family that can read them."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import MambaConfig, MambaForCausalLM

from families import FAMILIES, PROMPTS, RESPONSES, build
from sparring.logprobs import layout_of, sequence_log_probs
from sparring.logprobs.attention import UnsupportedAttentionError, use_packed_attention
from sparring.logprobs.packed import packed_log_probs
from sparring.logprobs.padded import padded_log_probs
from tiny import tiny_model

PACKED = sorted(set(FAMILIES) - {"gemma2"})


def adapted(model: Any) -> Any:
    """With an adapter that changes something."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        transposed = model.config.model_type == "gpt2"
        config = LoraConfig(r=4, target_modules="all-linear", fan_in_fan_out=transposed, task_type="CAUSAL_LM")
        wrapped = get_peft_model(model, config)
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.2)
    return wrapped


def gradients(model: Any, values: list[Tensor]) -> dict[str, Tensor]:
    flat = torch.cat(values)
    (flat * torch.linspace(-1.0, 2.0, len(flat), dtype=flat.dtype)).sum().backward()
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", PACKED)
def test_values_and_gradients_are_those_of_padded_rows(family: str, adapter: bool, checkpointing: bool) -> None:
    core = build(family)
    model = adapted(core) if adapter else core
    assert layout_of(core).rows == "packed"
    if checkpointing:
        model.train().gradient_checkpointing_enable()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    packed = packed_log_probs(core, PROMPTS, RESPONSES, 8192)
    padded = padded_log_probs(core, PROMPTS, RESPONSES, 8192)
    torch.testing.assert_close(torch.cat(packed), torch.cat(padded), rtol=0.0, atol=1e-4)
    ours, exact = gradients(model, packed), gradients(model, padded)
    assert ours.keys() == exact.keys()
    assert all(("lora_" in name) == adapter for name in ours)
    for name, value in exact.items():
        assert (ours[name] - value).norm() <= 1e-4 * value.norm() + 1e-7, name


def test_tied_embeddings_get_the_gradient_of_both_uses() -> None:
    # Layer norms of GPT-2 keep float64, so the comparison can be strict.
    model = build("gpt2").double()
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert layout_of(model).rows == "packed"
    ours = gradients(model, packed_log_probs(model, PROMPTS, RESPONSES, 8192))
    exact = gradients(model, padded_log_probs(model, PROMPTS, RESPONSES, 8192))
    for name, value in exact.items():
        torch.testing.assert_close(ours[name], value, rtol=0.0, atol=1e-10)


def test_a_prompt_is_computed_once_and_rows_stay_within_the_budget() -> None:
    model = tiny_model()
    assert layout_of(model).rows == "packed"
    lengths: list[int] = []
    model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: lengths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    with torch.no_grad():
        sequence_log_probs(model, PROMPTS, RESPONSES)
        # Prompts 5, 1, 8 (the fourth has no response); responses 4, 1, 7 | 12 | 2, 4, the last token of each not fed;
        # the first and the third prompt begin with the same token.
        assert lengths == [5 + 3 + 0 + 6 + 1 + 11 + 8 - 1 + 1 + 3]
        lengths.clear()
        sequence_log_probs(model, PROMPTS, RESPONSES, max_tokens=26)
        assert lengths == [14 + 12, 12]
        lengths.clear()
        # Responses of one prompt that exceed the budget together are spread over rows, each with the prompt.
        sequence_log_probs(model, [[1] * 10], [[[number] * 6 for number in range(2, 7)]], max_tokens=20)
        assert lengths == [20, 20, 15]


# A system turn that three prompts have in common, one of which ends with it; answers that leave each other anywhere.
SYSTEM = [1, 5, 9, 14, 3]
SHARED_PROMPTS = [[*SYSTEM, 20, 21], [8, 8], SYSTEM, [*SYSTEM, 20, 22]]
SHARED_RESPONSES = [
    [[6, 7, 8, 2], [6, 7, 9, 2], [6, 2], [6, 7, 9, 10, 2]],
    [[6, 7], [6]],
    [[20, 21, 6, 7, 8, 2], [11, 2]],
    [[2], [12, 2], [13, 2]],
]


@pytest.mark.parametrize("family", PACKED)
def test_what_sequences_have_in_common_is_computed_once_with_the_gradient_of_all(family: str) -> None:
    model = build(family)
    assert layout_of(model).rows == "packed"
    read: list[int] = []
    with model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: read.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    ):
        packed = packed_log_probs(model, SHARED_PROMPTS, SHARED_RESPONSES, 8192)
    sequences = [
        (*prompt, *answer[:-1])
        for prompt, answers in zip(SHARED_PROMPTS, SHARED_RESPONSES, strict=True)
        for answer in answers
    ]
    assert read == [len({each[:length] for each in sequences for length in range(1, len(each) + 1)})]
    padded = padded_log_probs(model, SHARED_PROMPTS, SHARED_RESPONSES, 8192)
    torch.testing.assert_close(torch.cat(packed), torch.cat(padded), rtol=0.0, atol=1e-4)
    ours, exact = gradients(model, packed), gradients(model, padded)
    for name, value in exact.items():
        assert (ours[name] - value).norm() <= 1e-4 * value.norm() + 1e-7, name


def test_a_budget_counts_what_a_row_has_already_once() -> None:
    model = tiny_model()
    assert layout_of(model).rows == "packed"
    rows: list[int] = []
    with torch.no_grad():
        whole = torch.cat(packed_log_probs(model, SHARED_PROMPTS, SHARED_RESPONSES, 8192))
        model.get_decoder().register_forward_pre_hook(
            lambda module, args, kwargs: rows.append(kwargs["input_ids"].shape[1]), with_kwargs=True
        )
        # The first prompt with its answers makes 7 + 5 positions, the last adds 3 to them and the second 3 of its own.
        order = [0, 3, 1, 2]
        split = packed_log_probs(model, [SHARED_PROMPTS[b] for b in order], [SHARED_RESPONSES[b] for b in order], 18)
    assert rows == [12 + 3 + 3, 5 + 5 + 1]
    places = torch.arange(len(whole)).split([sum(map(len, answers)) for answers in SHARED_RESPONSES])
    torch.testing.assert_close(torch.cat(split), whole[torch.cat([places[b] for b in order])], rtol=0.0, atol=2e-5)


def test_other_inputs_still_get_the_attention_that_the_model_had() -> None:
    plain, prepared = tiny_model(), tiny_model()
    assert layout_of(prepared).rows == "packed"
    ids, mask = torch.tensor([[0, 0, 5, 6], [7, 8, 9, 10]]), torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    with torch.no_grad():
        before = plain(input_ids=ids, attention_mask=mask).logits
        after = prepared(input_ids=ids, attention_mask=mask).logits
        generated = [
            model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=8, do_sample=False)
            for model in (plain, prepared)
        ]
    assert torch.equal(before, after)
    assert torch.equal(*generated)


def test_a_recurrent_model_takes_padded_rows_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    config = MambaConfig(
        vocab_size=97, hidden_size=16, state_size=4, num_hidden_layers=2, pad_token_id=0, bos_token_id=1, eos_token_id=2
    )
    model = MambaForCausalLM(config).eval()
    with caplog.at_level(logging.WARNING, logger="sparring"):
        assert layout_of(model).rows == "padded"
        assert layout_of(model).rows == "padded"
    assert len([record for record in caplog.records if record.name.startswith("sparring")]) == 1
    assert "MambaForCausalLM is scored in padded rows, which is slower" in caplog.text


def test_attention_that_segments_would_not_honour_takes_padded_rows(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="sparring"):
        assert layout_of(build("gemma2")).rows == "padded"
    assert "its attention takes softcap" in caplog.text
    eager = tiny_model(attn_implementation="eager")
    with caplog.at_level(logging.WARNING, logger="sparring"):
        assert layout_of(eager).rows == "padded"
    assert "its attention implementation 'eager' cannot be exchanged" in caplog.text


def test_a_flash_implementation_is_left_alone() -> None:
    model = tiny_model()
    model.config._attn_implementation_internal = "flash_attention_2"
    with pytest.raises(UnsupportedAttentionError, match="'flash_attention_2' goes by its name; take 'sdpa'"):
        use_packed_attention(model)


def test_a_model_that_computes_with_the_mask_takes_padded_rows(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_model()

    def add(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if (mask := kwargs["attention_mask"]) is not None and mask.dtype == torch.long:
            torch.ones(2, 3) + mask

    model.model.layers[1].register_forward_pre_hook(add, with_kwargs=True)
    with caplog.at_level(logging.WARNING, logger="sparring"):
        assert layout_of(model).rows == "padded"
    assert "in packed rows it cannot be: RuntimeError" in caplog.text


def test_a_window_in_the_mask_alone_takes_padded_rows(caplog: pytest.LogCaptureFixture) -> None:
    """As in Phi-3.5-MoE, whose attention is not told of the window; a short probe would not show it."""
    model = tiny_model()
    model.config.sliding_window = 64
    with caplog.at_level(logging.WARNING, logger="sparring"):
        assert layout_of(model).rows == "padded"
    assert "does not tell its window" in caplog.text


def test_bf16_models_and_autocast_pack_too() -> None:
    assert layout_of(build("llama").bfloat16()).rows == "packed"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layout_of(build("llama")).rows == "packed"


def test_a_layer_that_mixes_neighbours_beside_its_attention_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_model()
    norm = model.model.layers[0].input_layernorm
    norm.register_forward_hook(
        lambda module, args, output: output + torch.nn.functional.pad(output, (0, 0, 1, 0))[:, :-1]
    )
    with caplog.at_level(logging.WARNING, logger="sparring"):
        assert layout_of(model).rows == "padded"
    assert "a probe differs by" in caplog.text


def test_finding_out_leaves_the_mode_alone() -> None:
    model = tiny_model().train()
    assert layout_of(model).rows == "packed"
    assert model.training


def test_a_vocabulary_smaller_than_the_probe_is_no_obstacle() -> None:
    assert layout_of(tiny_model(vocab_size=5, pad_token_id=None)).rows == "packed"
