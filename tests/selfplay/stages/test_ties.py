"""What is said of a game with little to teach."""

from __future__ import annotations

from pathlib import Path

import pytest

from a_run import a_run
from sparring.selfplay.run import Run
from sparring.selfplay.stages.ties import tell_ties
from sparring.trainer.triples import Triple


@pytest.fixture
def playing(tiny_folder: Path, tmp_path: Path) -> Run:
    return a_run(tiny_folder, tmp_path / "run")


def triple(*generated: list[int], expert: tuple[int, ...] = (5, 2)) -> Triple:
    return Triple(prompt_ids=[4], expert_ids=list(expert), generated_ids=list(generated))


@pytest.mark.parametrize(
    ("triples", "same", "empty", "said"),
    [
        ([triple([5, 2], [6, 2])], 1, 0, "1 of 2 generated responses are the expert's own\n"),
        (
            [triple([5, 2]), triple([5, 2])],
            2,
            0,
            "2 of 2 generated responses are the expert's own, so there is nothing",
        ),
        ([triple(*[[5, 2]] * 19, [6, 2])], 19, 0, "so there is little left to learn"),
        ([triple([2], [6, 2])], 0, 1, "1 of 2 generated responses are empty\n"),
        ([triple([2], [2])], 0, 2, "2 of 2 generated responses are empty: the model says nothing"),
        # Without experts there is nobody to be equal to.
        ([triple([5, 2], expert=())], 0, 0, ""),
    ],
)
def test_ties_with_the_expert_and_empty_responses_are_said_and_logged(
    playing: Run, capsys: pytest.CaptureFixture[str], triples: list[Triple], same: int, empty: int, said: str
) -> None:
    capsys.readouterr()
    tell_ties(playing, 0, triples)
    assert said in " ".join(capsys.readouterr().err.split()) + "\n"
    (event,) = playing.directory.events()
    assert (event["samples/equal_expert"], event["samples/empty"]) == (same, empty)
