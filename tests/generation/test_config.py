"""Sampling settings and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from sparring.generation import GenerationConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0.0),
        ("temperature", -1.0),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_k", -1),
        ("samples_per_prompt", 0),
        ("batch_size", 0),
        ("name", "vlllm"),
        ("temprature", 1.0),
    ],
)
def test_nonsense_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        GenerationConfig(**{field: value})
    assert [error["loc"] for error in caught.value.errors()] == [(field,)]


def test_the_default_samples_the_policy_itself() -> None:
    config = GenerationConfig()
    assert (config.temperature, config.top_p, config.top_k) == (1.0, 1.0, 0)


def test_several_greedy_samples_of_a_prompt_would_be_the_same() -> None:
    with pytest.raises(ValidationError, match="top_k = 1 is greedy"):
        GenerationConfig(top_k=1, samples_per_prompt=2)
    assert GenerationConfig(samples_per_prompt=5, top_k=3).greedy() == GenerationConfig(top_k=1)


@pytest.mark.parametrize(("batch", "samples", "expected"), [(32, 1, 32), (32, 3, 10), (2, 3, 1), (6, 3, 2)])
def test_prompts_per_batch(batch: int, samples: int, expected: int) -> None:
    assert GenerationConfig(batch_size=batch, samples_per_prompt=samples).prompts_per_batch == expected
