"""Whatever leaves, joins or shares a prompt, what is sampled is what each row alone would have been."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from families import build as family
from sparring.generation import generation_config
from sparring.generation.decoding import Decoding
from sparring.generation.draws import draw
from sparring.generation.readers import reader_of
from sparring.generation.rows import PromptRows, SampledRow, common_prefix, decode
from sparring.generation.transformers import TransformersGenerator
from sparring.seeding import uniform
from tiny import as_prompts, tiny_model, tiny_tokenizer

STOPS, TOKENS, SEED = (2, 20, 50), 30, 5
# The longest joins when shorter ones are under way, and the other way round.
PROMPTS = ([7], [1, 30, 31, 32], [1, 5, 9, 14, 3, 8, 8, 30, 31], list(range(3, 40)), [4], [8, 9, 10], [40, 41])


def sampler(model: Any, *, tokens: int = TOKENS, **settings: Any) -> TransformersGenerator:
    parts = {"model": model, "tokenizer": tiny_tokenizer(), "stop_ids": STOPS, "max_new_tokens": tokens}
    return TransformersGenerator(generation_config(**settings), **parts)


@torch.no_grad()
def alone(model: Any, index: int, sample: int, *, header: Sequence[int] = ()) -> list[int]:
    """One sample of one prompt by itself, every token from a forward pass of its own."""
    tokens: list[int] = []
    while len(tokens) < TOKENS and (not tokens or tokens[-1] not in STOPS):
        logits = model(input_ids=torch.tensor([[*header, *PROMPTS[index], *tokens]]), use_cache=False).logits[:, -1]
        tokens += draw(logits, [uniform(SEED, index, sample, len(tokens))])
    return tokens


@pytest.mark.parametrize("at_once", [1, 5, 20])
@pytest.mark.parametrize("name", ["llama", "mistral", "gpt2", "qwen3-next", "mamba", "minimax"])
def test_samples_are_those_of_each_alone_however_many_are_decoded_at_once(name: str, at_once: int) -> None:
    model = family(name)
    samples = sampler(model, samples_per_prompt=2, batch_size=at_once).sample(as_prompts(PROMPTS), seed=SEED)
    for sample in samples:
        assert sample.response_ids == alone(model, sample.index, sample.sample)
    assert len({len(sample.response_ids) for sample in samples}) > 3


@pytest.mark.parametrize("keeps", ["rows", "batch", "nothing"])
@pytest.mark.parametrize("lengths", ["mixed", "equal", "single"])
def test_the_same_seed_gives_the_same_samples_in_every_way_of_decoding(keeps: Any, lengths: Any) -> None:
    model = family("llama")
    expected = sampler(model, samples_per_prompt=3, tokens=12).sample(as_prompts(PROMPTS), seed=SEED)
    other = sampler(model, samples_per_prompt=3, tokens=12, batch_size=5)
    other.decoding = lambda: Decoding(lengths=lengths, keeps=keeps)  # type: ignore[method-assign]
    assert other.sample(as_prompts(PROMPTS), seed=SEED) == expected
    assert len({tuple(sample.response_ids) for sample in expected}) > 15


def test_a_sample_does_not_depend_on_what_else_is_sampled() -> None:
    model = family("llama")
    many = sampler(model, samples_per_prompt=5, tokens=12).sample(as_prompts(PROMPTS), seed=SEED)
    few = sampler(model, samples_per_prompt=2, tokens=12).sample(as_prompts(PROMPTS)[::-2], seed=SEED)
    known = {(sample.index, sample.sample): sample for sample in many}
    assert few == [known[each.index, number] for each in as_prompts(PROMPTS)[::-2] for number in range(2)]


HEADER = list(range(50, 62))


@pytest.mark.parametrize("name", ["llama", "mistral", "gpt2", "gpt-oss", "llama4-text"])
def test_samples_are_those_of_each_alone_where_all_prompts_begin_alike(name: str) -> None:
    """Windows of four, chunks and learnt positions included: the shorter prompts read some of the header again."""
    model = family(name)
    begun = [dataclasses.replace(each, prompt_ids=HEADER + each.prompt_ids) for each in as_prompts(PROMPTS)]
    samples = sampler(model, samples_per_prompt=2, batch_size=5).sample(begun, seed=SEED)
    for sample in samples:
        assert sample.response_ids == alone(model, sample.index, sample.sample, header=HEADER)


def test_what_all_prompts_share_is_read_once() -> None:
    shapes: list[tuple[int, ...]] = []
    model = counting(family("llama"), shapes)
    prompts = [[*HEADER, 9, 8, 7], [*HEADER, 8], [*HEADER, 8, 7, 6, 5, 4], [*HEADER, 3, 3]]
    asked = [PromptRows(ids, [SampledRow(place, 0, 2), SampledRow(place, 1, 2)]) for place, ids in enumerate(prompts)]
    reader = reader_of(model, Decoding(), torch.device("cpu"), shared=common_prefix(asked))
    with torch.no_grad():
        decode(reader, asked, lambda rows, _: [9] * len(rows), ends=(), at_once=4)
    assert shapes == [(1, 12), (2, 3), (4, 1), (2, 5), (4, 1)]


def test_what_prompts_share_is_never_the_whole_of_one() -> None:
    def shared(*prompts: list[int]) -> list[int]:
        return list(common_prefix([PromptRows(prompt, []) for prompt in prompts]))

    long = list(range(30))
    assert shared(long, long) == long[:-1]
    assert shared(long, long[:20], [*long[:20], 99]) == long[:19]
    assert shared(long, [*long[:18], 99, 98], [*long[:25], 99]) == long[:18]
    assert shared([5, *long], long) == []
    # Alone there is nothing to share, and a pass over a few tokens would not pay.
    assert shared(long) == []
    assert shared([1, 2, 3], [1, 2, 4]) == []
    assert shared(*([1, 2, each] for each in range(9))) == [1, 2]


def counting(model: Any, shapes: list[tuple[int, ...]]) -> Any:
    read = model.forward

    @functools.wraps(read)
    def forward(*args: Any, **inputs: Any) -> Any:
        shapes.append(tuple(inputs["input_ids"].shape))
        return read(*args, **inputs)

    return forward


@pytest.mark.parametrize("name", ["llama", "qwen3-next", "mamba"])
def test_a_prompt_is_read_once_for_all_its_samples_and_rows_that_ended_are_read_no_more(name: str) -> None:
    shapes: list[tuple[int, ...]] = []
    model = counting(family(name), shapes)
    rows = [
        SampledRow(0, 0, 1),
        SampledRow(0, 1, 4),
        SampledRow(1, 0, 2),
        SampledRow(1, 1, 1),
        SampledRow(1, 2, 2),
        SampledRow(1, 3, 6),
    ]
    asked = [PromptRows(PROMPTS[1], rows[:2]), PromptRows(PROMPTS[2], rows[2:])]
    way = Decoding() if name == "llama" else Decoding(keeps="batch")
    with torch.no_grad():
        decode(reader_of(model, way, torch.device("cpu")), asked, lambda rows, _: [9] * len(rows), ends=(), at_once=9)
    assert shapes == [(2, 9), (4, 1), (2, 1), (2, 1), (1, 1), (1, 1)]
    assert [len(row.tokens) for row in rows] == [row.limit for row in rows]


def test_waiting_prompts_take_the_places_of_rows_that_ended_once_a_quarter_is_free() -> None:
    shapes: list[tuple[int, ...]] = []
    model = counting(tiny_model(), shapes)
    limits = [1, 2, 5, 5, 2, 2, 2, 2]
    asked = [PromptRows([3, 4], [SampledRow(place, 0, limit)]) for place, limit in enumerate(limits)]
    with torch.no_grad():
        decode(
            reader_of(model, Decoding(), torch.device("cpu")),
            asked,
            lambda rows, _: [9] * len(rows),
            ends=(),
            at_once=4,
        )
    assert shapes == [(4, 2), (1, 2), (4, 1), (2, 2), (4, 1), (1, 2), (3, 1), (2, 1)]


def test_tokens_that_end_a_row_end_it() -> None:
    model, rows = tiny_model(), [SampledRow(0, number, 5) for number in range(3)]
    drawn = iter([[9, 7, 9], [9, 9], [8, 9], [9], [9]])
    with torch.no_grad():
        decode(
            reader_of(model, Decoding(), torch.device("cpu")),
            [PromptRows([3], rows)],
            lambda rows, _: next(drawn),
            ends=(7, 8),
            at_once=3,
        )
    assert sorted(row.tokens for row in rows) == [[7], [9, 9, 8], [9, 9, 9, 9, 9]]
    assert next(drawn, None) is None
