from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.data.arithmetic import generate
from sparring.data.scenes import DOUBLES, HALF, TWICE
from sparring.data.verifiers import final_number
from sparring.errors import InputError

STEP = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")


def spoken(k: int) -> set[str]:
    words = {str(k), DOUBLES.get(k, ""), TWICE.get(k, ""), HALF.get(k, "")}
    return words - {""}


def check(example, difficulty):
    *steps, last = example.response.split("\n")
    assert len(steps) == difficulty
    previous = None
    for step in steps:
        left, operation, right, result = STEP.fullmatch(step).groups()
        assert eval(f"{left} {operation} {right}") == int(result)
        assert previous in (None, left), "each step goes on from the last one"
        assert any(re.search(rf"\b{word}\b", example.prompt) for word in spoken(int(right)))
        assert 0 < int(result) < (200 if difficulty <= 2 else 500)
        previous = result
    assert re.search(rf"\b{STEP.match(steps[0])[1]}\b", example.prompt)
    assert last == f"#### {previous}"
    assert final_number(example.response) == int(previous)
    assert example.prompt.endswith("?")
    assert "{" not in example.prompt


@pytest.mark.parametrize("difficulty", range(1, 6))
def test_ten_thousand_unique_and_right(difficulty):
    problems = generate(10_000, difficulty, 0)
    assert len({problem.prompt for problem in problems}) == 10_000
    assert [problem.index for problem in problems] == list(range(10_000))
    for problem in problems[:1500]:
        check(problem, difficulty)
    if difficulty <= 2:
        assert max(len(problem.prompt.split()) for problem in problems) <= 45


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(-(2**70), 2**70))
def test_any_seed_is_right_and_repeatable(difficulty, seed):
    problems = generate(20, difficulty, seed)
    assert problems == generate(25, difficulty, seed)[:20], "a larger count only appends"
    for problem in problems:
        check(problem, difficulty)


def test_every_operation_occurs():
    text = "".join(problem.response for problem in generate(200, 1, 0))
    assert all(f" {operation} " in text for operation in "+-*/")


def test_the_same_on_every_machine():
    text = "\n".join(f"{problem.prompt}\n{problem.response}" for problem in generate(50, 3, 7))
    assert (
        hashlib.sha256(text.encode()).hexdigest() == "d04d2772835281a620f5e284e099700e6752a39617a779c479d44a5dbd7cfc9f"
    )


def test_more_than_memory_holds_is_refused_at_once():
    with pytest.raises(InputError, match=r"data\.limit: 1,152,921,504,606,846,976 problems are more than 1,000,000"):
        generate(2**60, 5, 0)


def test_too_many_is_an_error(monkeypatch):
    from sparring.data import arithmetic

    monkeypatch.setattr(arithmetic._Story, "tell", lambda self, difficulty: False)
    with pytest.raises(InputError, match=r"data\.limit: only 0 distinct problems of difficulty 1"):
        generate(3, 1, 0)
