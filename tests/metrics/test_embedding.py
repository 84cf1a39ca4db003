"""The distance of samples in meaning."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sparring.metrics import METRICS, Estimate, HeldOut, Response

VECTORS = {"east": [2.0, 0.0], "west": [-3.0, 0.0], "north": [0.0, 1.0], "nowhere": [0.0, 0.0]}


def distance(*prompts: Sequence[str]) -> dict[str, Estimate]:
    sampled = [[Response(text=text, tokens=1, finish_reason="stop") for text in texts] for texts in prompts]
    embed = lambda texts: [VECTORS[text] for text in texts]  # noqa: E731
    return METRICS["embedding"](HeldOut(expert=[], greedy=[], sampled=sampled, embed=embed))


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["east", "east"], 0.0),
        (["east", "west"], 2.0),
        (["east", "north"], 1.0),
        (["east", "nowhere"], 1.0),
        (["east", "west", "north"], (2.0 + 1.0 + 1.0) / 3),
    ],
)
def test_known_answers(texts: list[str], expected: float) -> None:
    assert distance(texts)["embedding_distance"].mean == pytest.approx(expected)


def test_it_is_a_mean_over_prompts() -> None:
    assert distance(["east", "east"], ["east", "west"])["embedding_distance"] == Estimate.of([0.0, 2.0])


def test_there_is_none_for_single_samples_or_without_an_embedder() -> None:
    assert distance(["east"], ["west"]) == {}
    sampled = [[Response(text="east", tokens=1, finish_reason="stop")] * 2]
    assert METRICS["embedding"](HeldOut(expert=[], greedy=[], sampled=sampled)) == {}
