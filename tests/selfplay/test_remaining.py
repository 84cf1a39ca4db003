"""How long the rest of a run takes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sparring.progress import console
from sparring.run_directory import RunDirectory
from sparring.selfplay.remaining import estimated_seconds, iteration_seconds, tell_remaining

EVENTS = [
    {"kind": "time", "stage": "warmup", "seconds": 100.0},
    {"kind": "time", "stage": "evaluate", "policy": "warmup", "seconds": 50.0},
    # Interrupted, then gone on with.
    {"kind": "time", "stage": "generate", "iteration": 0, "seconds": 20.0},
    {"kind": "time", "stage": "generate", "iteration": 0, "seconds": 10.0},
    {"stage": "train", "iteration": 0, "step": 1, "loss": 1.0},
    {"kind": "time", "stage": "train", "iteration": 0, "seconds": 60.0},
    {"kind": "time", "stage": "evaluate", "policy": "iterations/000", "seconds": 10.0},
    {"kind": "time", "stage": "generate", "iteration": 1, "seconds": 5.0},
]


def test_an_iterations_seconds_are_those_of_its_stages_and_its_policy() -> None:
    assert iteration_seconds(EVENTS, 0, "iterations/000") == 100.0
    assert iteration_seconds(EVENTS, 1, "iterations/001") == 5.0
    assert iteration_seconds([], 0, "iterations/000") == 0.0


def test_an_iteration_is_estimated_before_it_trains() -> None:
    # 100 s for 2 epochs of 500 tokens: 0.1 s a token.
    events = [
        {"stage": "warmup", "step": 1, "loss": 2.0, "epoch": 1.0},
        {"stage": "warmup", "step": 2, "loss": 1.0, "epoch": 2.0},
        *EVENTS[:4],
        {"stage": "tokens", "iteration": 0, "tokens/epoch": 300},
    ]
    sampled, trained, evaluated = 20.0 + 10.0, 3 * 300 * 0.1, 50.0
    assert estimated_seconds(events, epochs=3.0, warmup_tokens=500) == pytest.approx(sampled + trained + evaluated)
    for needed in (events[:2], events[2:3], events[3:4], events[-1:]):
        known = [event for event in events if event not in needed]
        assert estimated_seconds(known, epochs=3.0, warmup_tokens=500) is None


@pytest.mark.parametrize(
    ("iterations", "said"),
    [
        (4, "iteration 0: took 2 min; 3 more take about 5 min\n"),
        (2, "iteration 0: took 2 min; the last one takes about 2 min\n"),
        (1, ""),
    ],
)
def test_the_rest_is_as_long_as_the_last_iteration(tmp_path: object, iterations: int, said: str) -> None:
    directory = RunDirectory(tmp_path)
    for event in EVENTS:
        directory.log(event)
    run = SimpleNamespace(directory=directory, config=SimpleNamespace(total_iterations=iterations))
    with console.capture() as shown:
        tell_remaining(run, 0)
    assert shown.get() == said
