"""The way of decoding is proved against the model's own forward pass: what is slower is said, what is wrong refused."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
import transformers

from families import FAMILIES, UNUSUAL, build
from sparring.errors import InputError
from sparring.generation import generation_config
from sparring.generation.decoding import Decoding
from sparring.generation.mixture import Mixture
from sparring.generation.rows import PromptRows, SampledRow
from sparring.generation.transformers import TransformersGenerator
from sparring.logprobs import sequence_log_probs
from tiny import as_prompts, tiny_model, tiny_tokenizer

STOP, TOKENS = 2, 8
PROMPTS = ([1, 5, 9, 14, 3], [7], [1, 30, 31, 32, 33, 34, 35, 36], [4, 4], [8])

WAYS = {
    **dict.fromkeys(UNUSUAL, Decoding()),
    **dict.fromkeys(("qwen3-next", "lfm2", "mamba", "deepseek-v32", "glm-moe-dsa"), Decoding(keeps="batch")),
    "minimax": Decoding(lengths="equal", keeps="batch"),
    "recurrent-gemma": Decoding(lengths="equal", keeps="batch"),
    "rwkv": Decoding(lengths="single", keeps="batch"),
}


def sampler(model: Any, *, mixture: Mixture | None = None, copies: int = 1, **settings: Any) -> TransformersGenerator:
    # Copied, since nobody who plays wants several greedy samples of one prompt.
    config = generation_config(**settings).model_copy(update={"samples_per_prompt": copies})
    parts = {"model": model, "tokenizer": tiny_tokenizer(), "stop_ids": [STOP], "max_new_tokens": TOKENS}
    return TransformersGenerator(config, mixture=mixture, **parts)


@torch.no_grad()
def greedy(model: Any, prompt: list[int]) -> list[int]:
    """One prompt alone, every token from a forward pass of its own."""
    ids = list(prompt)
    while len(ids) < len(prompt) + TOKENS and (len(ids) == len(prompt) or ids[-1] != STOP):
        ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("family", [*UNUSUAL, *FAMILIES])
def test_greedy_samples_of_a_batch_are_those_of_each_prompt_alone(family: str, copies: int) -> None:
    model = build(family)
    alone = [greedy(model, prompt) for prompt in PROMPTS]
    generator = sampler(model, copies=copies, top_k=1)
    samples = generator.sample(as_prompts(PROMPTS), seed=0)
    assert [(sample.index, sample.sample) for sample in samples] == [(i, k) for i in range(5) for k in range(copies)]
    assert [sample.response_ids for sample in samples] == [alone[sample.index] for sample in samples]
    assert generator.decoding() == WAYS.get(family, Decoding())


@pytest.mark.parametrize("limit", [20, 24])
def test_rows_are_not_padded_where_their_columns_count(limit: int) -> None:
    """In steps that are longer than the texts of the proof."""
    model = build("llama4-text", floor_scale=limit, attn_scale=4.0, attention_chunk_size=64)
    prompts = [
        [3 + (7 * place + start) % 90 for place in range(length)] for start, length in ((1, 17), (5, 11), (9, 3))
    ]
    generator = sampler(model, top_k=1)
    samples = generator.sample(as_prompts(prompts), seed=0)
    assert [sample.response_ids for sample in samples] == [greedy(model, prompt) for prompt in prompts]
    assert generator.decoding() == Decoding()


def test_rows_that_stay_below_are_padded() -> None:
    asked = [PromptRows(range(length), [SampledRow(length, 0, 8)]) for length in (3, 12)]
    assert Decoding().for_widths(asked, 21) == Decoding()
    assert Decoding().for_widths(asked, 20) == Decoding(lengths="equal")
    assert Decoding(lengths="single").for_widths(asked, 20) == Decoding(lengths="single")
    assert Decoding().for_widths(asked, None) == Decoding().for_widths([], 1) == Decoding()


def test_samples_of_one_prompt_are_independent_where_each_is_drawn_alone() -> None:
    model = build("rwkv")
    samples = sampler(model, copies=10).sample(as_prompts(PROMPTS), seed=3)
    assert len({tuple(sample.response_ids) for sample in samples}) > 25
    # Two prompts of one length have other random numbers, too.
    first = torch.tensor(
        [[sample.response_ids[0] for sample in samples if sample.index == i] for i in range(5)]
    ).float()
    assert not torch.equal(first[1], first[4])
    assert samples == sampler(model, copies=10).sample(as_prompts(PROMPTS), seed=3)


@pytest.mark.parametrize("family", ["rwkv", "minimax", "qwen3-next"])
def test_samples_are_draws_of_the_law_that_is_scored(family: str) -> None:
    """The mean of log π(y) over one-token samples is minus the entropy, whatever the length of the prompt."""
    model, draws = build(family), 200
    config = {"model": model, "tokenizer": tiny_tokenizer(), "stop_ids": [STOP], "max_new_tokens": 1}
    samples = TransformersGenerator(generation_config(samples_per_prompt=draws), **config).sample(
        as_prompts(PROMPTS), seed=2
    )
    for number, prompt in enumerate(PROMPTS):
        answers = [sample.response_ids for sample in samples if sample.index == number]
        with torch.no_grad():
            scores = sequence_log_probs(model, [prompt], [answers])[0].double()
            p = model(input_ids=torch.tensor([prompt])).logits[0, -1].double().softmax(-1)
        entropy = -(p * p.log()).sum()
        spread = ((p * p.log().square()).sum() - entropy**2).sqrt()
        assert abs(float(scores.mean() + entropy)) < 4 * float(spread) / draws**0.5


def test_a_slower_path_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="sparring.generation"):
        for _ in range(2):
            sampler(build("minimax"), copies=2).sample(as_prompts(PROMPTS), seed=0)
        sampler(build("llama"), copies=2).sample(as_prompts(PROMPTS), seed=0)
    (record,) = [record for record in caplog.records if record.name.startswith("sparring.generation")]
    text = record.getMessage()
    assert text.startswith(
        "MiniMaxForCausalLM is sampled in batches of prompts of equal length, which no prompt joins "
    )


def test_a_cache_that_forgets_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    """A layer whose output depends on how many tokens are given at once, as with some states that are kept wrong."""
    model = tiny_model()

    def forget(module: Any, args: Any, output: Any) -> Any:
        return output * (0.5 if output.shape[1] == 1 else 1.0)

    model.model.layers[0].mlp.register_forward_hook(forget)
    generator = sampler(model, copies=2, top_k=1)
    rows = [row for row in as_prompts(PROMPTS) if len(row.prompt_ids) > 1]
    with caplog.at_level(logging.WARNING, logger="sparring"):
        samples = generator.sample(rows, seed=0)
    assert generator.decoding() == Decoding(keeps="nothing")
    assert "in batches, without a cache, which is slow" in caplog.text
    assert [sample.response_ids for sample in samples] == [greedy(model, PROMPTS[sample.index]) for sample in samples]


class _Short(transformers.LlamaForCausalLM):
    """It gives other logits where it is asked for the last token's alone."""

    def forward(self, *args: Any, logits_to_keep: int = 0, **kwargs: Any) -> Any:
        output = super().forward(*args, logits_to_keep=logits_to_keep, **kwargs)
        output.logits = output.logits * (0.5 if logits_to_keep else 1.0)
        return output


def test_what_cannot_be_sampled_right_is_refused() -> None:
    model = _Short(tiny_model().config).eval()
    with pytest.raises(InputError, match=r"^_Short: .* right: even one by one, .*, the next") as caught:
        sampler(model).sample(as_prompts(PROMPTS), seed=0)
    assert "generation.name" in str(caught.value)


@pytest.mark.parametrize("family", ["llama", "mamba", "rwkv", "recurrent-gemma", "minimax", "qwen3-next", "lfm2"])
def test_mixtures_are_decoded_right_whatever_a_model_keeps(family: str) -> None:
    """Models without `past_key_values` read the text again at every token, or one by one."""
    policy, base, share = build(family), build(family), 0.5
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(5)
        for weight in base.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    generator = sampler(policy, mixture=Mixture(base=base.forward, base_share=share), copies=2, top_k=1)
    samples = generator.sample(as_prompts(PROMPTS), seed=0)
    for sample in samples:
        ids = list(PROMPTS[sample.index])
        for token in sample.response_ids:
            with torch.no_grad():
                logits = [each(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1] for each in (policy, base)]
            mixed = sum(each.log_softmax(-1) for each in logits)
            assert mixed.max() - mixed[token] < 1e-3
            ids.append(token)


def test_groups() -> None:
    asked = [
        PromptRows([1] * length, [SampledRow(place, 0, 9), SampledRow(place, 1, 9)])
        for place, length in enumerate([3, 1, 3, 2])
    ]
    first, second, third, fourth = asked
    assert Decoding().groups(asked) == [asked]
    assert Decoding(lengths="equal").groups(asked) == [[first, third], [fourth], [second]]
    single = Decoding(lengths="single").groups(asked[:2])
    assert single == [[PromptRows(each.ids, [row])] for each in asked[:2] for row in each.rows]


@pytest.mark.parametrize("family", ["llama", "gemma3-text", "qwen3-moe", "minimax", "recurrent-gemma", "rwkv"])
def test_16_bits_hide_no_fault_and_make_none(family: str) -> None:
    expected = WAYS.get(family, Decoding())
    assert sampler(build(family).bfloat16(), copies=2).decoding() == expected
