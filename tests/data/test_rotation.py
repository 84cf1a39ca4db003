"""Prompts that change with the iteration."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.data.rotation import prompts_of_iteration


def test_parts_are_disjoint_until_all_are_used() -> None:
    parts = [prompts_of_iteration(10, 3, iteration, seed=0) for iteration in range(3)]
    assert parts == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    later = prompts_of_iteration(10, 3, 3, seed=0)
    assert later[0] == 9
    assert len({*later}) == 3


@pytest.mark.parametrize("each", [None, 5, 6])
def test_all_of_them_where_an_iteration_takes_all(each: int | None) -> None:
    assert prompts_of_iteration(5, each, 7, seed=1) == [0, 1, 2, 3, 4]


def test_the_seed_decides_the_later_passes_alone() -> None:
    first = [prompts_of_iteration(40, 20, iteration, seed=0) for iteration in range(4)]
    other = [prompts_of_iteration(40, 20, iteration, seed=1) for iteration in range(4)]
    assert first[:2] == other[:2]
    assert first[2:] != other[2:]


@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 12), st.integers(0, 5))
def test_every_prompt_is_used_as_often_as_any_other_give_or_take_one(
    count: int, each: int, iterations: int, seed: int
) -> None:
    used: Counter[int] = Counter(dict.fromkeys(range(count), 0))
    for iteration in range(iterations):
        part = prompts_of_iteration(count, each, iteration, seed)
        assert len({*part}) == len(part) == min(each, count)
        used.update(part)
    assert max(used.values()) - min(used.values()) <= 1
