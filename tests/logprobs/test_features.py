"""Features of responses, in every layout: those of the hidden states of each row alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from families import PROMPTS, RESPONSES, build
from sparring.errors import InputError
from sparring.logprobs import decoder, features, layout_of, response_features
from sparring.logprobs.decoder import decoder_of

# One of each layout.
FAMILIES = {
    "llama": "packed",
    "hyperclovax": "packed",
    "gemma2": "padded",
    "mamba": "padded",
    "rwkv": "padded",
    "electra": "whole",
}


@pytest.mark.parametrize("max_tokens", [16, 8192])
@pytest.mark.parametrize("family", FAMILIES)
def test_they_are_the_mean_and_the_last_of_a_rows_own_states(family: str, max_tokens: int) -> None:
    model = build(family)
    with torch.no_grad():
        own = [
            [states(model, prompt, answer) for answer in answers]
            for prompt, answers in zip(PROMPTS, RESPONSES, strict=True)
        ]
        found = response_features(model, PROMPTS, RESPONSES, max_tokens=max_tokens)
    assert layout_of(model).rows == FAMILIES[family]
    assert [len(each) for each in found] == [3, 1, 2, 0]
    for ours, theirs in zip(found, own, strict=True):
        for feature, state in zip(ours, theirs, strict=True):
            torch.testing.assert_close(feature, torch.cat([state.mean(dim=0), state[-1]]), rtol=1e-4, atol=1e-4)


def states(model: Any, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """`[T, d]` the hidden states at a response's tokens, by an unpadded forward pass of the model as it came."""
    hidden: torch.Tensor = decoder_of(model)(input_ids=torch.tensor([[*prompt, *answer]]))[0][0, len(prompt) :]
    return hidden


def test_a_model_without_hidden_states_ends_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("electra")
    assert layout_of(model).rows == "whole"

    def none(core: Any) -> Any:
        raise decoder.UnknownDecoderError("it has no part that gives hidden states")

    monkeypatch.setattr("sparring.logprobs.padded.decoder_of", none)
    with pytest.raises(InputError, match="no part that gives hidden states, which a reward is learnt from"):
        features.response_features(model, PROMPTS, RESPONSES)
