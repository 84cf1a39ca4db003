"""The likeliest next tokens and log-probs at given ones: in every layout, those of the model's own forward pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from families import PROMPTS, RESPONSES, build
from sparring.logprobs import head, layout_of, likely_tokens, log_probs_at, per_token_log_probs, tempered
from sparring.tokens import LikelyTokens
from tiny import tiny_model

N = 5


def laws(model: Any, temperature: float = 1.0) -> list[Tensor]:
    """`[T, V]` log-probs of all next tokens at each token of each response; nothing of sparring."""
    found = []
    for prompt, answers in zip(PROMPTS, RESPONSES, strict=True):
        for answer in answers:
            logits = model(input_ids=torch.tensor([[*prompt, *answer]]), use_cache=False).logits[0]
            found.append((logits[len(prompt) - 1 : -1].float() / temperature).log_softmax(-1))
    return found


def flat(values: list[list[Any]]) -> list[Any]:
    return [each for answers in values for each in answers]


def likeliest(model: Any, vocabulary: int | None = None) -> list[LikelyTokens]:
    size = vocabulary or model.config.get_text_config().vocab_size
    return flat(likely_tokens(model, PROMPTS, RESPONSES, count=N, vocabulary=size, max_tokens=40))


@pytest.fixture(
    params=["llama", "gpt-oss", "minimax", "modernbert-decoder", "gemma2"],
    ids=["packed", "padded", "padded too", "whole", "capped logits"],
)
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A model of each layout, its head read four positions at a time."""
    model = tiny_model() if request.param == "llama" else build(request.param)
    monkeypatch.setattr(head, "_LOGITS_AT_ONCE", 16 * model.config.get_text_config().vocab_size)
    return model


def test_the_likeliest_tokens_are_the_models_own(model: Any) -> None:
    layout_of(model)
    for found, law in zip(likeliest(model), laws(model), strict=True):
        values, ids = law.topk(N, dim=-1)
        assert torch.allclose(found.log_probs[:, :-1], values, atol=2e-4)
        assert torch.allclose(law.gather(-1, found.ids), values, atol=2e-4)
        rest = law.scatter(-1, found.ids, float("-inf")).logsumexp(-1)
        assert torch.allclose(found.log_probs[:, -1], rest, atol=2e-4)
        assert torch.allclose(found.log_probs.logsumexp(-1), torch.zeros(len(ids)), atol=1e-6)


def test_log_probs_at_tokens_and_their_gradients_are_the_models_own(model: Any) -> None:
    ids = [[torch.randint(9, (len(a), 1)) + 9 * torch.arange(N) for a in answers] for answers in RESPONSES]
    found = flat(log_probs_at(model, PROMPTS, RESPONSES, ids, max_tokens=40))
    own = flat(per_token_log_probs(model, PROMPTS, RESPONSES))
    exact = [
        torch.cat([law.gather(-1, at), law.scatter(-1, at, float("-inf")).logsumexp(-1, keepdim=True)], -1)
        for law, at in zip(laws(model), flat(ids), strict=True)
    ]
    for (token, at), terms, values in zip(found, own, exact, strict=True):
        assert torch.allclose(token, terms, atol=2e-4)
        assert torch.allclose(at, values, atol=2e-4)
    weights = torch.linspace(-1.0, 2.0, N + 1)
    ours = gradients(model, [(at * weights).sum() + token.sum() for token, at in found])
    theirs = gradients(model, [(at * weights).sum() + terms.sum() for at, terms in zip(exact, own, strict=True)])
    largest = max(float(each.abs().max()) for each in theirs.values())
    for name, gradient in ours.items():
        assert torch.allclose(gradient, theirs[name], atol=1e-4 * largest), name


def gradients(model: Any, values: list[Tensor]) -> dict[str, Tensor]:
    torch.stack(values).sum().backward()
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def test_a_smaller_vocabulary_leaves_the_others_to_the_rest() -> None:
    model = tiny_model()
    whole, below = likeliest(model), likeliest(model, vocabulary=100)
    assert max(int(each.ids.max()) for each in whole) >= 100 > max(int(each.ids.max()) for each in below)
    assert all(torch.allclose(each.log_probs.exp().sum(-1), torch.ones(1)) for each in below)


@pytest.mark.parametrize("family", ["llama", "modernbert-decoder"])
def test_a_temperature_is_that_of_the_law(family: str) -> None:
    model = tiny_model() if family == "llama" else build(family)
    with tempered(model, 0.5):
        found = likeliest(model)
    for each, law in zip(found, laws(model, 0.5), strict=True):
        assert torch.allclose(each.log_probs[:, :-1], law.topk(N, dim=-1).values, atol=2e-4)


def test_what_is_left_over_keeps_its_digits() -> None:
    """Where the likeliest tokens hold all but 1e-12, that is known to the last digits in fp32."""
    model = tiny_model()
    with tempered(model, 0.02):
        found = likeliest(model)
    # fp32 knows a logit of 100 to 1e-5, divided by 0.02.
    for each, law in zip(found, laws(model, 0.02), strict=True):
        rest = law.double().scatter(-1, each.ids, float("-inf")).logsumexp(-1)
        assert torch.allclose(each.log_probs[:, -1].double(), rest, rtol=1e-3)
    assert min(float(each.log_probs[:, -1].min()) for each in found) < -20
