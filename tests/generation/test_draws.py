"""Drawing a token is the inverse of the distribution function, at one number a token."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from sparring.generation import generation_config
from sparring.generation.draws import Draws, DrawsByKind, draw
from sparring.generation.rows import SampledRow
from sparring.seeding import uniform

LAST = 1.0 - 2.0**-53


def logits_of(size: int, seed: int = 0, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.randn(size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [1, 2, 7, 255, 256, 257, 1000, 49152])
def test_evenly_spaced_numbers_draw_each_token_as_often_as_it_is_likely(size: int) -> None:
    """Of N numbers in the middles of N equal parts, each token gets N p to within one: what chance could not do."""
    n = 20_000
    logits = logits_of(size)
    numbers = [(i + 0.5) / n for i in range(n)]
    # By parts, as all rows of the largest vocabulary together take gigabytes.
    parts = (numbers[start : start + 500] for start in range(0, n, 500))
    drawn = torch.tensor([token for part in parts for token in draw(logits.expand(len(part), -1), part)])
    assert torch.equal(drawn, drawn.sort().values)
    counts = torch.bincount(drawn, minlength=size).double()
    assert float((counts - n * logits.double().softmax(-1)).abs().max()) < 1.0 + 1e-2


def test_tokens_are_those_of_the_distribution_function_in_fp64() -> None:
    numbers = torch.rand(4000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    logits = torch.stack([logits_of(1000, seed) for seed in range(4000)])
    sums = logits.double().softmax(-1).cumsum(-1)
    expected = torch.searchsorted(sums, numbers[:, None], right=True).squeeze(-1)
    drawn = torch.tensor(draw(logits, numbers.tolist()))
    # A number within rounding of a boundary may fall to its neighbour.
    near = (sums - numbers[:, None]).abs().min(-1).values < 1e-6
    assert torch.equal(drawn[~near], expected[~near])
    assert int(near.sum()) < 20
    assert (drawn - expected).abs().max() <= 1


@pytest.mark.parametrize("number", [0.0, 2.0**-53, 0.5, LAST])
@pytest.mark.parametrize("kept", [[0], [511], [3, 256, 700], [255], [999]])
def test_tokens_that_are_ruled_out_are_never_drawn(number: float, kept: list[int]) -> None:
    logits = torch.full((1, 1000), -math.inf)
    logits[0, kept] = torch.linspace(-80.0, 80.0, len(kept)) if len(kept) > 1 else torch.tensor([5.0])
    assert draw(logits, [number])[0] in kept


@given(
    st.lists(st.floats(-200, 200, width=32) | st.just(-math.inf), min_size=1, max_size=600),
    st.floats(0.0, LAST),
    st.integers(0, 599),
)
@settings(max_examples=300, deadline=None)
def test_whatever_the_logits_the_token_is_possible(values: list[float], number: float, place: int) -> None:
    values[place % len(values)] = 1.0
    logits = torch.tensor([values])
    (token,) = draw(logits, [number])
    assert 0 <= token < len(values)
    assert float((logits - logits.max()).exp()[0, token]) > 0.0


def test_what_is_far_out_in_the_tail_can_be_drawn() -> None:
    """Numbers of 53 bits reach what those of 24, which samplers in fp32 take, do not."""
    logits = torch.tensor([[0.0, -25.0]])
    assert draw(logits, [1.0 - 1e-12]) == [1]
    assert draw(logits, [1.0 - 1e-10]) == [0]


@pytest.mark.parametrize(
    "chosen", [{"temperature": 0.7}, {"top_k": 5}, {"top_p": 0.6}, {"temperature": 1.4, "top_k": 40, "top_p": 0.9}]
)
def test_settings_are_those_of_transformers(chosen: dict[str, float]) -> None:
    config = generation_config(**chosen)
    warpers = LogitsProcessorList(
        [
            TemperatureLogitsWarper(config.temperature),
            *([TopKLogitsWarper(config.top_k)] if config.top_k else []),
            TopPLogitsWarper(config.top_p),
        ]
    )
    rows = [SampledRow(0, number, 9) for number in range(3000)]
    logits = logits_of(300, scale=1.0)
    drawn = Draws(config, 7, lambda _: 5)(rows, logits.expand(len(rows), -1))
    numbers = [uniform(7, 5, row.sample, 0) for row in rows]
    assert drawn == draw(warpers(None, logits[None]).expand(len(rows), -1), numbers)
    assert len(set(drawn)) > 2


def test_each_row_is_drawn_as_its_kind_has_it() -> None:
    config, logits = generation_config(), torch.randn(5, 300, generator=torch.Generator().manual_seed(0))
    kinds = [Draws(config, 7, lambda row: row.prompt), Draws(config.greedy(), 7, lambda row: row.prompt)]
    rows = [SampledRow(place, 0, 9, kind=kind) for place, kind in enumerate((1, 0, 0, 1, 0))]
    sampled, greedy = (draws(rows, logits) for draws in kinds)
    expected = [greedy[0], *sampled[1:3], greedy[3], sampled[4]]
    assert DrawsByKind(kinds)(rows, logits) == expected
    assert greedy == logits.argmax(-1).tolist() != sampled


def test_numbers_are_of_the_prompt_the_sample_and_the_position_alone() -> None:
    draws, logits = Draws(generation_config(), 7, lambda row: 10 + row.prompt), torch.zeros(1, 1000)
    rows = [SampledRow(0, 0, 9), SampledRow(0, 1, 9), SampledRow(1, 0, 9), SampledRow(0, 0, 9, [4])]
    (first,) = draws(rows[:1], logits)
    assert draws([SampledRow(0, 0, 9)], logits) == [first]
    together = draws(rows, logits.expand(4, -1))
    assert together[0] == first
    assert len(set(together)) == 4
    assert together == [int(1000 * uniform(7, 10 + row.prompt, row.sample, len(row.tokens))) for row in rows]
