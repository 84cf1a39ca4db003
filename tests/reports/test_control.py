"""The play beside as much more supervised fine-tuning, in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.whole_run import rate, write_run
from sparring.files import write_json
from sparring.reports.control import beside_control
from sparring.reports.summary import summarize


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (0, "Iteration 1 is better than that by +1.000 (95 % interval +"),
        (4, "Iteration 1 is better than that by +0.000 (95 % interval −"),
    ],
)
def test_play_that_is_no_worse(tmp_path: Path, more: int, said: str) -> None:
    assert said in told(tmp_path, played=4, more=more)


def test_the_interval_of_play_that_is_worse_has_the_sign_of_the_difference(tmp_path: Path) -> None:
    text = told(tmp_path, played=0, more=4)
    assert "Iteration 0 is worse than that: −1.000 (95 % interval −1." in text
    assert " to −0." in text
    assert text.endswith("more supervised fine-tuning was the better buy.")


def told(path: Path, *, played: int, more: int) -> str:
    """What is said where so many of four answers are right."""
    directory = write_run(path, verified=False)
    rights = {directory.iteration(0): 0, directory.iteration(1): played, directory.control(0): more}
    for stage, right in rights.items():
        stage.path.mkdir(parents=True, exist_ok=True)
        stage.take_inventory()
        write_json(stage.evaluation, {"accuracy/greedy": rate([1.0] * right + [0.0] * (4 - right))})
    (text,) = beside_control(summarize(path), "accuracy/greedy", None)
    return text
