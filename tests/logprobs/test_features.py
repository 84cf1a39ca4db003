"""Features of responses, in every layout: the gradient of the log-probs at the hidden states, in absolute value."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from families import PROMPTS, RESPONSES, build
from sparring.errors import InputError
from sparring.logprobs import layout_of, response_features
from sparring.logprobs.decoder import decoder_of

# One of each layout that can be read, and what scales or caps its logits.
FAMILIES = {"llama": "packed", "granite": "packed", "gemma2": "padded", "mamba": "padded", "rwkv": "padded"}


@pytest.mark.parametrize("max_tokens", [16, 8192])
@pytest.mark.parametrize("family", FAMILIES)
def test_they_are_the_size_of_the_gradient_at_each_hidden_state(family: str, max_tokens: int) -> None:
    model = build(family)
    own = [
        [surprise(model, prompt, answer) for answer in answers]
        for prompt, answers in zip(PROMPTS, RESPONSES, strict=True)
    ]
    with torch.no_grad():
        found = response_features(model, PROMPTS, RESPONSES, max_tokens=max_tokens)
    assert layout_of(model).rows == FAMILIES[family]
    assert [len(each) for each in found] == [3, 1, 2, 0]
    for ours, theirs in zip(found, own, strict=True):
        for feature, expected in zip(ours, theirs, strict=True):
            torch.testing.assert_close(feature, expected, rtol=1e-4, atol=1e-4)
    assert all(weight.grad is None for weight in model.parameters())


def surprise(model: Any, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """`[d]` by the model's own unpadded forward pass, whose decoder's result a hook makes a leaf."""
    caught: list[torch.Tensor] = []

    def catch(_module: Any, _inputs: Any, output: Any) -> Any:
        caught.append(output[0].detach().requires_grad_())
        output.last_hidden_state = caught[0]
        return output

    hook = decoder_of(model).register_forward_hook(catch)
    logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0]
    hook.remove()
    log_probs = logits.log_softmax(-1)
    sum(log_probs[len(prompt) - 1 + step, token] for step, token in enumerate(answer)).backward()
    model.zero_grad(set_to_none=True)
    gradient = caught[0].grad
    assert gradient is not None
    return gradient[0, len(prompt) - 1 : -1].abs().sum(dim=0)


def test_of_a_linear_head_it_is_the_tokens_embedding_less_the_expected_one() -> None:
    model = build("llama")
    with torch.no_grad():
        ((feature,),) = response_features(model, [[5, 6, 7]], [[[9]]])
        logits = model(input_ids=torch.tensor([[5, 6, 7]])).logits[0, -1]
        weight = model.get_output_embeddings().weight
        torch.testing.assert_close(feature, (weight[9] - logits.softmax(-1) @ weight).abs(), rtol=1e-4, atol=1e-5)


def test_a_model_of_whose_head_nothing_is_known_ends_in_words() -> None:
    model = build("electra")
    with pytest.raises(InputError, match="of this model's head nothing is known"):
        response_features(model, PROMPTS, RESPONSES)
