"""How long the rest of a run takes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from a_run import a_run
from sparring.progress import console
from sparring.run_directory import RunDirectory
from sparring.selfplay.remaining import Seconds, control_seconds, estimated_seconds, iteration_seconds, tell_remaining

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
    assert iteration_seconds(EVENTS, 0, "iterations/000") == Seconds(100.0, 60.0, 10.0)
    assert iteration_seconds(EVENTS, 1, "iterations/001") == Seconds(5.0, 0.0, 0.0)
    assert iteration_seconds([], 0, "iterations/000") == Seconds(0.0, 0.0, 0.0)


def test_an_iteration_is_estimated_before_it_trains() -> None:
    # 100 s for 2 epochs of 500 tokens: 0.1 s a token.
    events = [
        {"stage": "warmup", "step": 1, "loss": 2.0, "epoch": 1.0},
        {"stage": "warmup", "step": 2, "loss": 1.0, "epoch": 2.0},
        *EVENTS[:4],
        {"stage": "tokens", "iteration": 0, "tokens/epoch": 300},
    ]
    sampled, trained, evaluated = 20.0 + 10.0, 3 * 300 * 0.1, 50.0
    whole = sampled + trained + evaluated
    assert estimated_seconds(events, epochs=3.0, warmup_tokens=500) == pytest.approx((whole, trained, evaluated))
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
    run = SimpleNamespace(directory=directory, config=SimpleNamespace(total_iterations=iterations, controls=0))
    with console.capture() as shown:
        tell_remaining(run, 0)
    assert shown.get() == said


def test_a_control_trains_as_long_as_the_computation_of_play_takes() -> None:
    # 60 s for 3 epochs of 300 tokens; 600 tokens that were read cost as much as 200 trained ones.
    events = [
        {"stage": "tokens", "iteration": 0, "tokens/epoch": 300, "tokens/read": 600},
        {"stage": "tokens", "iteration": 1, "tokens/epoch": 1, "tokens/read": 0},
    ]
    took = Seconds(100.0, 60.0, 10.0)
    found = control_seconds(events, took, iteration=0, epochs=3.0, share=1 / 3)
    assert found == pytest.approx(60.0 / 900 * (900 + 200))
    assert control_seconds([], took, iteration=0, epochs=3.0, share=1 / 3) == 60.0


@pytest.mark.parametrize(
    ("iterations", "said"),
    [
        (2, "iteration 0: took 2 min; the last one takes about 2 min; the control after that, about 3 min\n"),
        # One policy of a control is not alone.
        (1, "iteration 0: took 2 min; the control after that, about 2 min\n"),
    ],
)
def test_a_control_comes_on_top(tiny_folder: Path, tmp_path: Path, iterations: int, said: str) -> None:
    run = a_run(tiny_folder, tmp_path / "run", iterations=iterations, control=True, stop={"enabled": False})
    for event in EVENTS:
        run.directory.log(event)
    # All weights are trained: a token that is read costs a third of one that is trained on. 80 s an iteration.
    run.directory.log({"stage": "tokens", "iteration": 0, "tokens/epoch": 300, "tokens/read": 300})
    with console.capture() as shown:
        tell_remaining(run, 0)
    assert shown.get() == said
