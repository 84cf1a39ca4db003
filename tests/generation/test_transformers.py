"""Sampling: exactly the tokens of π_o, exactly as sampled."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model

from sparring.errors import RunError
from sparring.examples import EncodedExample
from sparring.generation import generation_config, generator
from sparring.generation.protocol import GeneratorParts
from sparring.generation.transformers import TransformersGenerator
from sparring.logprobs import sequence_log_probs
from tiny import tiny_model, tiny_tokenizer

_STOP = 2


def prompts(*ids: Sequence[int]) -> list[EncodedExample]:
    return [
        EncodedExample(index=10 + number, prompt_ids=list(each), expert_ids=[5], prompt="", response="")
        for number, each in enumerate(ids)
    ]


def build(
    model: Any, *, stop_ids: Sequence[int] = (_STOP,), max_new_tokens: int = 12, **settings: Any
) -> TransformersGenerator:
    parts = GeneratorParts(
        model=model, tokenizer=tiny_tokenizer(), stop_ids=tuple(stop_ids), max_new_tokens=max_new_tokens
    )
    built = generator(generation_config(**settings), parts)
    assert isinstance(built, TransformersGenerator)
    return built


def small_vocabulary_model(*, seed: int = 3) -> Any:
    """Twelve tokens with quite different probabilities."""
    return tiny_model(seed=seed, vocab_size=12, initializer_range=0.3, tie_word_embeddings=False)


@torch.no_grad()
def next_token(model: Any, ids: Sequence[int]) -> torch.Tensor:
    return model(input_ids=torch.tensor([list(ids)])).logits[0, -1].double().softmax(-1)


def chi_squared(counts: Counter[int], expected: torch.Tensor, n: int) -> tuple[float, int]:
    """Pearson's statistic and its degrees of freedom; a token of no probability must not occur."""
    assert all(expected[token] > 0 for token in counts)
    cells = [(counts[token], n * float(p)) for token, p in enumerate(expected) if p > 0]
    rare = [cell for cell in cells if cell[1] < 5]
    pooled = [cell for cell in cells if cell[1] >= 5]
    if rare:
        pooled.append((sum(seen for seen, _ in rare), sum(due for _, due in rare)))
    return sum((seen - due) ** 2 / due for seen, due in pooled), len(pooled) - 1


def truncated(probabilities: torch.Tensor, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Any:
    """What sampling with these settings means, written down once more."""
    p = (probabilities.log() / temperature).softmax(-1)
    order = p.argsort(descending=True)
    keep = torch.ones_like(p, dtype=torch.bool)
    if top_k:
        keep[order[top_k:]] = False
    if top_p < 1:
        before = p[order].cumsum(0) - p[order]
        keep[order[before >= top_p]] = False
    return (p * keep) / (p * keep).sum()


@pytest.mark.parametrize(
    "settings",
    [{}, {"temperature": 0.7}, {"temperature": 1.6}, {"top_k": 4}, {"top_p": 0.8}, {"temperature": 0.7, "top_p": 0.9}],
    ids=str,
)
def test_tokens_have_the_probabilities_of_the_model(settings: dict[str, Any]) -> None:
    model, prompt, n = small_vocabulary_model(), [1, 5, 9], 4000
    sampler = build(model, max_new_tokens=2, samples_per_prompt=n, **settings)
    samples = sampler.sample(prompts(prompt), seed=11)
    assert len(samples) == n
    first = next_token(model, prompt)
    kept = truncated(first, **settings)
    assert (kept > 0).sum() >= 3
    statistic, freedom = chi_squared(Counter(sample.response_ids[0] for sample in samples), kept, n)
    assert statistic < freedom + 4 * math.sqrt(2 * freedom)
    # The second token depends on the first.
    start, count = Counter(s.response_ids[0] for s in samples if s.response_ids[0] != _STOP).most_common(1)[0]
    seconds = Counter(sample.response_ids[1] for sample in samples if sample.response_ids[0] == start)
    statistic, freedom = chi_squared(seconds, truncated(next_token(model, [*prompt, start]), **settings), count)
    assert statistic < freedom + 4 * math.sqrt(2 * freedom)


def test_the_statistic_tells_a_wrong_temperature() -> None:
    """The test above would fail if a setting had no effect."""
    model, prompt, n = small_vocabulary_model(), [1, 5, 9], 4000
    samples = build(model, max_new_tokens=1, samples_per_prompt=n).sample(prompts(prompt), seed=11)
    wrong = truncated(next_token(model, prompt), temperature=0.7)
    statistic, freedom = chi_squared(Counter(sample.response_ids[0] for sample in samples), wrong, n)
    assert statistic > freedom + 8 * math.sqrt(2 * freedom)


def test_mean_log_ratio_of_a_sample_to_its_own_probability_is_right() -> None:
    """Left padding: each prompt's samples have the likelihood that the unpadded model gives them."""
    model = small_vocabulary_model()
    batch = prompts([1, 5, 9, 3, 4, 6, 7, 8], [4], [1, 7, 11])
    samples = build(model, max_new_tokens=1, samples_per_prompt=3000).sample(batch, seed=5)
    for number, prompt in enumerate(batch):
        counts = Counter(sample.response_ids[0] for sample in samples[3000 * number : 3000 * (number + 1)])
        statistic, freedom = chi_squared(counts, next_token(model, prompt.prompt_ids), 3000)
        assert statistic < freedom + 4 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("stop_ids", [(2,), (2, 7), (9, 3, 5)])
def test_a_response_ends_at_the_first_stop_token_and_says_so(stop_ids: tuple[int, ...]) -> None:
    sampler = build(small_vocabulary_model(), stop_ids=stop_ids, samples_per_prompt=100, max_new_tokens=8)
    samples = sampler.sample(prompts([1, 5, 9], [4]), seed=1)
    for sample in samples:
        ids = sample.response_ids
        assert 1 <= len(ids) <= 8
        assert not set(ids[:-1]) & set(stop_ids)
        assert sample.finish_reason == ("stop" if ids[-1] in stop_ids else "length")
        assert sample.finish_reason == "stop" or len(ids) == 8
    # Both ends occur, also at the very limit, and every stop token does its work.
    assert {sample.finish_reason for sample in samples} == {"stop", "length"}
    assert {sample.response_ids[-1] for sample in samples if sample.finish_reason == "stop"} == set(stop_ids)
    assert {len(sample.response_ids) for sample in samples if sample.finish_reason == "stop"} >= {1, 8}


def test_pad_tokens_inside_a_response_are_kept() -> None:
    """Padding is told by the end of a response: a sampled pad token is a token like others."""
    sampler = build(small_vocabulary_model(), stop_ids=(9,), samples_per_prompt=200)
    samples = sampler.sample(prompts([1, 5, 9]), seed=1)
    inside = [sample for sample in samples if 0 in sample.response_ids[:-1]]
    assert inside
    assert all(len(sample.response_ids) == 12 or sample.response_ids[-1] == 9 for sample in inside)


def test_text_is_what_the_ids_say_without_the_end() -> None:
    tokenizer = tiny_tokenizer()
    for sample in build(tiny_model(), samples_per_prompt=20).sample(prompts([40, 41]), seed=0):
        assert sample.text == tokenizer.decode(sample.response_ids, skip_special_tokens=True)
        assert "<|" not in sample.text


def test_samples_are_in_order_of_prompt_then_number() -> None:
    samples = build(tiny_model(), samples_per_prompt=3, max_new_tokens=2).sample(prompts([4], [5, 6]), seed=9)
    assert [(sample.index, sample.sample) for sample in samples] == [
        (10, 0),
        (10, 1),
        (10, 2),
        (11, 0),
        (11, 1),
        (11, 2),
    ]
    assert {sample.seed for sample in samples} == {9}
    assert {sample.generator for sample in samples} == {"transformers"}


def test_the_seed_decides_the_samples_and_nothing_else_does() -> None:
    model, batch = tiny_model(), prompts([4, 5], [6])
    sampler = build(model, samples_per_prompt=4)
    torch.manual_seed(0)
    first = sampler.sample(batch, seed=7)
    torch.manual_seed(1)
    torch.rand(3)
    state = torch.get_rng_state()
    again = sampler.sample(batch, seed=7)
    assert first == again
    assert torch.equal(torch.get_rng_state(), state)
    other = sampler.sample(batch, seed=8)
    assert [sample.response_ids for sample in other] != [sample.response_ids for sample in first]
    assert len({tuple(sample.response_ids) for sample in first}) == 8


def test_greedy_is_the_most_likely_token_whatever_else_is_in_the_batch() -> None:
    model = tiny_model()
    batch = prompts([4, 5, 6, 7, 8, 9, 10], [6], [50, 51, 52])
    settings = generation_config(samples_per_prompt=4, temperature=0.3, top_p=0.5, batch_size=7).greedy()
    assert settings.batch_size == 7
    sampler = build(model, **settings.model_dump())
    together = [sample.response_ids for sample in sampler.sample(batch, seed=0)]
    alone = [sampler.sample([prompt], seed=99)[0].response_ids for prompt in reversed(batch)][::-1]
    assert together == alone
    for prompt, response in zip(batch, together, strict=True):
        ids = list(prompt.prompt_ids)
        for token in response:
            assert token == int(next_token(model, ids).argmax())
            ids.append(token)


@pytest.mark.parametrize("at_once", [4, 64])
def test_several_settings_draw_together_what_each_draws_alone(at_once: int) -> None:
    model, batch = tiny_model(initializer_range=0.3), prompts([4, 5, 6, 7, 8, 9, 10], [6], [50, 51, 52], [7, 8])
    sampled = generation_config(samples_per_prompt=3, batch_size=at_once)
    settings = [(sampled, 5), (sampled.greedy(), 6), (generation_config(temperature=0.5, top_k=9), 5)]
    together = build(model, batch_size=at_once).sample_together(batch, settings)
    assert together == [build(model, **config.model_dump()).sample(batch, seed=seed) for config, seed in settings]
    assert [len(samples) for samples in together] == [12, 4, 4]
    assert len({tuple(sample.response_ids) for samples in together for sample in samples}) > 12


def test_a_prompt_is_read_once_for_several_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    model, config = tiny_model(), generation_config()
    sampler, batch = build(model, max_new_tokens=3, stop_ids=(99,)), prompts([4, 5, 6], [7, 8, 9])
    settings = [(config, 0), (config.greedy(), 0)]
    expected, read, forward = sampler.sample_together(batch, settings), [], model.forward

    def noted(**inputs: Any) -> Any:
        read.append(tuple(inputs["input_ids"].shape))
        return forward(**inputs)

    monkeypatch.setattr(model, "forward", noted)
    assert sampler.sample_together(batch, settings) == expected
    assert read == [(2, 3), (4, 1), (4, 1)]


def test_what_the_checkpoint_ships_has_no_effect_and_is_put_back() -> None:
    plain, batch = tiny_model(), prompts([4, 5], [6])
    expected = build(plain, samples_per_prompt=8).sample(batch, seed=3)
    greedy = build(plain, top_k=1).sample(batch, seed=3)
    model = tiny_model()
    shipped = transformers.GenerationConfig(
        do_sample=True,
        repetition_penalty=2.0,
        temperature=0.1,
        top_k=5,
        top_p=0.5,
        max_length=3,
        min_new_tokens=9,
        eos_token_id=7,
        bad_words_ids=[[40]],
    )
    model.generation_config = shipped
    before = shipped.to_dict()
    assert build(model, samples_per_prompt=8).sample(batch, seed=3) == expected
    assert build(model, top_k=1).sample(batch, seed=3) == greedy
    assert model.generation_config is shipped
    assert shipped.to_dict() == before


def test_the_mode_is_put_back_and_dropout_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = tiny_model(attention_dropout=0.5), prompts([4, 5])
    expected = build(model, top_k=1).sample(batch, seed=0)
    model.train()
    assert build(model, top_k=1).sample(batch, seed=0) == expected
    assert model.training

    def fail(**_: Any) -> None:
        raise RuntimeError("no memory")

    sampler = build(model)
    sampler.check()
    monkeypatch.setattr(model.model, "forward", fail)
    with pytest.raises(RuntimeError, match="no memory"):
        sampler.sample(batch, seed=0)
    assert model.training


def test_plan_is_whole_prompts_longest_first_and_pure() -> None:
    given = prompts([4], [1, 2, 3], [5, 6], [7], [8, 9, 10, 11])
    order = list(given)
    sampler = build(None, samples_per_prompt=3, batch_size=8)
    batches = sampler.plan(given)
    assert [[prompt.index for prompt in batch] for batch in batches] == [[14, 11], [12, 10], [13]]
    assert given == order
    assert sampler.plan(given) == batches
    assert sampler.plan(given[::-1]) == batches
    assert sampler.plan([]) == []
    # A prompt's samples are never split, even where they are more than a batch.
    assert [len(batch) for batch in build(None, samples_per_prompt=9, batch_size=8).plan(given)] == [1] * 5


@pytest.mark.parametrize(("count", "sizes"), [(4, [2, 2]), (16, [4, 4, 4, 4]), (33, [8, 8, 8, 8, 1])])
def test_batches_are_decoded_in_turns_where_there_are_enough(count: int, sizes: list[int]) -> None:
    given = prompts(*([each] for each in range(count)))
    assert [len(batch) for batch in build(None, samples_per_prompt=4, batch_size=8).plan(given)] == sizes


def test_an_injected_adapter_is_what_samples() -> None:
    batch, model = prompts([4, 5], [6]), tiny_model()
    base = build(model, top_k=1).sample(batch, seed=0)
    wrapped = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    sampler = build(wrapped.get_base_model(), top_k=1)
    assert sampler.sample(batch, seed=0) == base  # the initial adapter changes nothing
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.5)
    changed = sampler.sample(batch, seed=0)
    assert changed != base
    for prompt, sample in zip(batch, changed, strict=True):
        best = int(wrapped(input_ids=torch.tensor([prompt.prompt_ids])).logits[0, -1].argmax())
        assert sample.response_ids[0] == best


def test_what_is_sampled_can_be_scored() -> None:
    """E[log π(y)] over samples is minus the entropy of the first token: generation and scoring are one policy."""
    model, batch, n = small_vocabulary_model(), prompts([1, 5, 9]), 4000
    samples = build(model, samples_per_prompt=n, max_new_tokens=1).sample(batch, seed=2)
    with torch.no_grad():
        scores = sequence_log_probs(model, [batch[0].prompt_ids], [[sample.response_ids for sample in samples]])[0]
    p = next_token(model, batch[0].prompt_ids)
    entropy = -(p * p.log()).sum()
    spread = ((p * p.log().square()).sum() - entropy**2).sqrt()
    assert abs(float(scores.double().mean() + entropy)) < 4 * float(spread) / math.sqrt(n)


@pytest.mark.parametrize(
    "settings", [{"samples_per_prompt": 2}, {"samples_per_prompt": 1, "top_k": 1}], ids=["sampled", "greedy"]
)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_of_which_nothing_can_be_drawn_name_their_prompt(value: float, settings: dict[str, Any]) -> None:
    model = tiny_model()
    sampler = build(model, **settings)
    sampler.check()
    with torch.no_grad():
        model.get_input_embeddings().weight[77] = value
    # The head is tied to the embedding, so every row's logits of this one token are broken.
    with pytest.raises(RunError, match=r"^the prompt of row 10: no next token can be drawn, .*\n  fix: "):
        sampler.sample(prompts([1, 40], [1, 41, 42]), seed=0)
