"""The law that sampling at a temperature has is the law that is scored."""

from __future__ import annotations

import pytest
import torch

from families import build
from sparring.examples import EncodedExample
from sparring.generation import generation_config
from sparring.generation.transformers import TransformersGenerator
from sparring.logprobs import sequence_log_probs, tempered
from tiny import tiny_model, tiny_tokenizer

PROMPT = [1, 40, 50]
RESPONSES = [[60, 61, 2], [62], [9, 8]]


def scores(model: object) -> torch.Tensor:
    with torch.no_grad():
        return sequence_log_probs(model, [PROMPT], [RESPONSES])[0]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("tied", [True, False])
def test_log_probs_are_those_of_divided_logits(temperature: float, tied: bool) -> None:
    model = tiny_model(tie_word_embeddings=tied)
    plain = scores(model)
    with torch.no_grad():
        expected = []
        for answer in RESPONSES:
            logits = model(input_ids=torch.tensor([PROMPT + answer])).logits[0, len(PROMPT) - 1 : -1]
            terms = (logits / temperature).log_softmax(-1).gather(-1, torch.tensor(answer)[:, None])
            expected.append(float(terms.sum()))
    with tempered(model, temperature):
        assert scores(model).tolist() == pytest.approx(expected, abs=1e-4)
    assert torch.equal(scores(model), plain)


def test_the_head_comes_back_after_a_failure() -> None:
    model = tiny_model()
    head = model.get_output_embeddings()
    with pytest.raises(RuntimeError, match="boom"), tempered(model, 2.0):
        raise RuntimeError("boom")
    assert model.get_output_embeddings() is head


def test_a_model_that_caps_its_logits_is_refused() -> None:
    model = build("gemma2")
    with pytest.raises(ValueError, match="caps its logits"), tempered(model, 0.5):
        pass
    with tempered(model, 1.0):
        pass


def test_samples_have_the_law_that_is_scored() -> None:
    """All 42 responses of at most two of seven tokens, and 4000 draws: a chi-squared test against the scored law."""
    stop, temperature, draws = 2, 0.6, 4000
    model = tiny_model(vocab_size=7, initializer_range=0.5)
    outcomes = [[stop], *([first, second] for first in range(7) if first != stop for second in range(7))]
    sampler = TransformersGenerator(
        generation_config(samples_per_prompt=draws).untruncated(draws, temperature=temperature),
        model=model,
        tokenizer=tiny_tokenizer(),
        stop_ids=[stop],
        max_new_tokens=2,
    )
    prompt = EncodedExample(index=0, prompt_ids=[1, 3, 4], expert_ids=[], prompt="", response="")
    drawn = [sample.response_ids for sample in sampler.sample([prompt], seed=5)]
    counts = torch.tensor([float(sum(sample == outcome for sample in drawn)) for outcome in outcomes])
    assert counts.sum() == draws

    def statistic(scored_at: float) -> float:
        with torch.no_grad(), tempered(model, scored_at):
            expected = draws * sequence_log_probs(model, [prompt.prompt_ids], [outcomes])[0].exp()
        assert float(expected.sum()) == pytest.approx(draws, rel=1e-4)
        return float(((counts - expected) ** 2 / expected).sum())

    # 42 degrees of freedom: the upper 1e-4 quantile is 84.
    assert statistic(temperature) < 84.0
    assert statistic(1.0) > 500.0
