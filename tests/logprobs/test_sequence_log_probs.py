"""Log-probs of sequences against a float64 reference that holds all logits, over the families of models."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from families import FAMILIES, PROMPTS, RESPONSES, build
from sparring.logprobs import check_log_probs, head, per_token_log_probs, sequence_log_probs
from tiny import tiny_model


def reference_terms(model: Any, prompt: Sequence[int], response: Sequence[int]) -> Tensor:
    """One sequence, no padding, all logits of the model's own forward pass, in the model's dtype."""
    ids = torch.tensor([[*prompt, *response]])
    log_probs = model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
    return torch.stack([log_probs[len(prompt) - 1 + step, token] for step, token in enumerate(response)])


def reference(model: Any, prompt: Sequence[int], response: Sequence[int]) -> Tensor:
    return reference_terms(model, prompt, response).sum()


def references(model: Any) -> list[Tensor]:
    return [
        reference(model, prompt, answer)
        for prompt, answers in zip(PROMPTS, RESPONSES, strict=True)
        for answer in answers
    ]


def weighted_sum(values: list[Tensor]) -> Tensor:
    """A scalar whose gradient tells every sequence apart."""
    flat = torch.cat(values)
    return (flat * torch.linspace(-1.0, 2.0, len(flat), dtype=flat.dtype)).sum()


def gradients(model: Any, loss: Tensor) -> dict[str, Tensor]:
    named = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    values = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {name: value for name, value in zip(named, values, strict=True) if value is not None}


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_fp32_is_within_1e_4_nats_of_float64(family: str) -> None:
    model = build(family)
    ours = sequence_log_probs(model, PROMPTS, RESPONSES)
    exact = torch.stack(references(copy.deepcopy(model).double()))
    assert [len(values) for values in ours] == [3, 1, 2, 0]
    assert all(values.dtype == torch.float32 for values in ours)
    assert (torch.cat(ours).double() - exact).abs().max() < 1e-4
    # Not a model for which every token has the same probability, where many mistakes would cancel.
    assert exact.std() > 1.0


@pytest.mark.parametrize("family", FAMILIES)
def test_check_log_probs_accepts_every_family(family: str) -> None:
    check_log_probs(build(family))


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_float64_models_are_scored_in_float64(family: str) -> None:
    model = build(family).double()
    ours = torch.cat(sequence_log_probs(model, PROMPTS, RESPONSES))
    assert ours.dtype == torch.float64
    torch.testing.assert_close(ours, torch.stack(references(model)), rtol=0.0, atol=1e-10)


def test_bf16_models_are_summed_in_fp32() -> None:
    model = build("llama").bfloat16()
    with torch.no_grad():
        ours = torch.cat(sequence_log_probs(model, PROMPTS, RESPONSES))
        exact = torch.stack(references(copy.deepcopy(model).double()))
    assert ours.dtype == torch.float32
    # bf16 keeps 8 bits of a logit of about 10.
    assert 1e-4 < (ours.double() - exact).abs().max() < 1.0


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_batching_and_padding_do_not_change_the_values(family: str) -> None:
    model = build(family)
    together = torch.cat(sequence_log_probs(model, PROMPTS, RESPONSES))
    one_by_one = torch.cat(sequence_log_probs(model, PROMPTS, RESPONSES, max_tokens=1))
    some = torch.cat(sequence_log_probs(model, PROMPTS, RESPONSES, max_tokens=30))
    torch.testing.assert_close(one_by_one, together, rtol=0.0, atol=2e-5)
    torch.testing.assert_close(some, together, rtol=0.0, atol=2e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
@torch.no_grad()
def test_the_terms_are_those_of_each_token_and_sum_to_the_sequences(family: str) -> None:
    model = build(family)
    exact = copy.deepcopy(model).double()
    sums = sequence_log_probs(model, PROMPTS, RESPONSES)
    for prompt, answers, values, terms in zip(
        PROMPTS, RESPONSES, sums, per_token_log_probs(model, PROMPTS, RESPONSES), strict=True
    ):
        assert [each.sum().item() for each in terms] == values.tolist()
        for answer, each in zip(answers, terms, strict=True):
            torch.testing.assert_close(each.double(), reference_terms(exact, prompt, answer), rtol=0.0, atol=1e-4)


def test_the_order_of_prompts_and_responses_is_kept() -> None:
    model = tiny_model()
    with torch.no_grad():
        values = sequence_log_probs(model, PROMPTS, RESPONSES)
        reversed_values = sequence_log_probs(model, PROMPTS[::-1], [answers[::-1] for answers in RESPONSES[::-1]])
    for here, there in zip(values, reversed_values[::-1], strict=True):
        torch.testing.assert_close(here, there.flip(0), rtol=0.0, atol=2e-5)


def test_no_prompts_give_nothing() -> None:
    assert sequence_log_probs(tiny_model(), [], []) == []


@pytest.mark.parametrize(
    ("prompts", "responses", "message"),
    [
        ([[1], []], [[[2]], [[3]]], "prompt 1 is empty: the first response token needs a token before it"),
        ([[1], [2]], [[[2]], [[3], []]], "response 1 to prompt 1 is empty: it has no log-prob"),
        ([[1], [2]], [[[2]]], "2 prompts but responses to 1"),
    ],
)
def test_errors(prompts: list[list[int]], responses: list[list[list[int]]], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        sequence_log_probs(tiny_model(), prompts, responses)


# All but GPT-2 compute their norms in fp32 even in a float64 model.
@pytest.mark.parametrize(
    ("family", "dtype", "tolerance"),
    [(family, torch.float32, 1e-4) for family in ("llama", "gpt2", "gemma2", "granite", "cohere")]
    + [(family, torch.float64, 1e-9) for family in ("gpt2",)]
    + [(family, torch.float64, 1e-6) for family in ("llama", "gemma2", "granite", "cohere")],
)
def test_gradients_are_those_of_the_whole_logits(
    family: str, dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(family).to(dtype)
    exact = gradients(model, weighted_sum([torch.stack(references(model))]))
    # Several chunks and several batches, so that their gradients must add up.
    monkeypatch.setattr(head, "_LOGITS_AT_ONCE", 5 * 97)
    ours = gradients(model, weighted_sum(sequence_log_probs(model, PROMPTS, RESPONSES, max_tokens=30)))
    assert ours.keys() == exact.keys()
    for name, value in exact.items():
        assert (ours[name] - value).norm() <= tolerance * value.norm(), name


def with_adapter(model: Any) -> Any:
    """The model with a LoRA adapter that does something, its base frozen."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        wrapped = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.2)
    return wrapped.eval()


def test_an_active_adapter_is_scored() -> None:
    model = with_adapter(build("llama"))
    with torch.no_grad():
        ours = torch.cat(sequence_log_probs(model, PROMPTS, RESPONSES))
        exact = torch.stack(references(copy.deepcopy(model).double()))
        with model.disable_adapter():
            base = torch.cat(sequence_log_probs(model, PROMPTS, RESPONSES))
    assert (ours.double() - exact).abs().max() < 1e-4
    assert (ours - base).abs().min() > 1e-3
    check_log_probs(model)
    # The object that generation holds is the same policy.
    with torch.no_grad():
        inner = torch.cat(sequence_log_probs(model.get_base_model(), PROMPTS, RESPONSES))
    assert torch.equal(inner, ours)


def test_gradients_reach_the_adapter_and_nothing_else() -> None:
    model = with_adapter(build("llama").double())
    exact = gradients(model, weighted_sum([torch.stack(references(model))]))
    ours = gradients(model, weighted_sum(sequence_log_probs(model, PROMPTS, RESPONSES)))
    assert ours
    assert all("lora_" in name for name in ours)
    for name, value in exact.items():
        assert (ours[name] - value).norm() <= 1e-6 * value.norm(), name


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
def test_gradient_checkpointing_changes_nothing(adapter: bool) -> None:
    model = build("llama").double()
    model = with_adapter(model) if adapter else model
    plain = gradients(model, weighted_sum(sequence_log_probs(model, PROMPTS, RESPONSES)))
    model.train().gradient_checkpointing_enable()
    runs: list[int] = []
    core = model.get_base_model() if adapter else model
    core.get_decoder().layers[0].mlp.register_forward_pre_hook(lambda *_: runs.append(1))
    checkpointed = gradients(model, weighted_sum(sequence_log_probs(model, PROMPTS, RESPONSES)))
    assert len(runs) == 2  # once forward, once more backward: it really is on
    assert plain.keys() == checkpointed.keys()
    for name, value in plain.items():
        torch.testing.assert_close(checkpointed[name], value, rtol=0.0, atol=1e-12)


def test_pad_equal_to_eos_is_masked_by_length_alone() -> None:
    """The end token is scored where it is part of a response, wherever it stands, and nowhere else."""
    model = tiny_model(pad_token_id=2)
    prompts, responses = [[1, 2, 5], [1, 2]], [[[7, 2]], [[2, 8, 2, 2, 9, 10, 11, 2]]]
    with torch.no_grad():
        ours = torch.cat(sequence_log_probs(model, prompts, responses))
        exact = torch.stack([reference(model, prompts[i], responses[i][0]) for i in range(2)])
        without_end = sequence_log_probs(model, prompts[:1], [[[7]]])[0][0]
    torch.testing.assert_close(ours, exact, rtol=0.0, atol=1e-4)
    assert ours[0] < without_end - 0.1


def test_a_data_parallel_wrapper_is_seen_through() -> None:
    class Wrapper(torch.nn.Module):
        def __init__(self, module: Any) -> None:
            super().__init__()
            self.module = module

    model = tiny_model()
    with torch.no_grad():
        bare = torch.cat(sequence_log_probs(model, PROMPTS, RESPONSES))
        wrapped = torch.cat(sequence_log_probs(Wrapper(Wrapper(model)), PROMPTS, RESPONSES))
    assert torch.equal(bare, wrapped)


# The first prompt's first and last responses are one, and so are the third's second and third.
REPEATED = [[*RESPONSES[0], RESPONSES[0][0]], RESPONSES[1], [RESPONSES[2][0], RESPONSES[2][1], RESPONSES[2][1]], []]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "granite"])
def test_equal_responses_are_computed_once_and_have_the_gradient_of_all_their_places(family: str) -> None:
    model = build(family).double()
    rows = [(prompt, answer) for prompt, answers in zip(PROMPTS, REPEATED, strict=True) for answer in answers]
    exact = torch.stack([reference(model, prompt, answer) for prompt, answer in rows])
    check_log_probs(model)
    read: list[int] = []
    with model.get_input_embeddings().register_forward_hook(lambda _, inputs, __: read.append(inputs[0].numel())):
        sequence_log_probs(model, PROMPTS, RESPONSES)
        ours = sequence_log_probs(model, PROMPTS, REPEATED)
    half = len(read) // 2
    assert read[:half] == read[half:]
    torch.testing.assert_close(torch.cat(ours), exact, rtol=0.0, atol=1e-9)
    found, wanted = (gradients(model, weighted_sum(values)) for values in (ours, [exact]))
    for name, value in wanted.items():
        # All but GPT-2 compute their norms in fp32 even in a float64 model.
        assert (found[name] - value).norm() <= 1e-6 * value.norm(), name


def test_dropout_cannot_tell_equal_responses_apart() -> None:
    """The log-prob of each still varies from pass to pass, as it does alone."""
    model = tiny_model(attention_dropout=0.5)
    check_log_probs(model)
    model.train()
    first, again = (sequence_log_probs(model, PROMPTS, REPEATED) for _ in range(2))
    assert first[0][0] == first[0][3]
    assert first[2][1] == first[2][2]
    assert first[0][0] != again[0][0]
