"""A policy's held-out responses beside its rivals', and the files that keep the verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from a_run import a_run, judged_by, on
from sparring.examples import EncodedExample
from sparring.judges import Question, StartedJudge, Verdict
from sparring.judges.protocol import verdict_of_scores
from sparring.metrics import Duel
from sparring.policies import BASE
from sparring.selfplay.run import Run
from sparring.selfplay.stages.compare import compare

# By policy, two samples of each of two prompts.
TEXTS: Mapping[int, Mapping[int, Sequence[str]]] = {
    BASE: {4: ("no", "= 3"), 8: ("= 9", "no idea")},
    1: {4: ("= 3", "= 30"), 8: ("= 9", "= 9")},
    2: {4: ("= 3", "= 3"), 8: ("idea", "no idea")},
}


class Exact:
    """A judge by exact answers that abstains from "idea", and keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Question] = []

    def __call__(self, questions: Sequence[Question]) -> list[Verdict]:
        self.asked += questions
        return [
            verdict_of_scores(
                [None if text == "idea" else float(text == each.reference_answer) for text in each.responses], 0.0
            )
            for each in questions
        ]


@pytest.fixture
def exact() -> Exact:
    return Exact()


@pytest.fixture
def playing(tiny_folder: Path, tmp_path: Path, exact: Exact) -> Run:
    settings = {"evaluation": {"samples_per_prompt": 2, "judge": {"name": "verifier"}}}
    data = {"source": "arithmetic", "limit": 4, "held_out": 2, "max_response_tokens": 60}
    run = judged_by(a_run(tiny_folder, tmp_path, data=data, **settings), StartedJudge(exact, "a rule"))
    experts = {4: "= 3", 8: "= 9"}
    return on(
        run,
        held_out=[
            EncodedExample(index=index, prompt_ids=[3], expert_ids=[4], prompt="p", response=text)
            for index, text in experts.items()
        ],
    )


def rows(policy: int) -> dict[int, list[dict[str, Any]]]:
    return {index: [{"text": text} for text in texts] for index, texts in TEXTS[policy].items()}


def preferences(compared: list[list[Duel]]) -> list[list[float | None]]:
    return [[pair.preference for pair in pairs] for pairs in compared]


def test_the_first_policys_rivals_are_one_and_are_asked_about_once(playing: Run, exact: Exact) -> None:
    compared = compare(playing, 1, rows)
    assert compared["base"] == compared["previous"]
    assert preferences(compared["base"]) == [[1.0, 0.0], [0.5, 1.0]]
    assert compared["base"][0][0] == Duel(preference=1.0, length=3, rival_length=2)
    assert [question.responses for question in exact.asked] == [
        ("= 3", "no"),
        ("= 9", "= 9"),
        ("= 30", "= 3"),
        ("= 9", "no idea"),
    ]


def test_verdicts_are_kept_and_what_was_open_is_logged(playing: Run) -> None:
    compared = compare(playing, 2, rows)
    assert preferences(compared["base"]) == [[1.0, 0.5], [None, 0.5]]
    assert preferences(compared["previous"]) == [[0.5, 1.0], [None, 0.0]]
    (event,) = playing.directory.events()
    assert (event["judge/ties"], event["judge/abstentions"]) == (3, 2)
    again = Exact()
    assert compare(judged_by(playing, StartedJudge(again, "a rule")), 2, rows) == compared
    assert not again.asked


def test_after_a_warm_up_its_policy_is_beside_the_base_model(playing: Run, tmp_path: Path) -> None:
    (tmp_path / "warmup" / "model").mkdir(parents=True)
    compared = compare(playing, 0, lambda policy: rows(1 if policy == 0 else policy))
    assert preferences(compared["base"]) == preferences(compared["previous"]) == [[1.0, 0.0], [0.5, 1.0]]
    assert len(list((tmp_path / "warmup" / "held_out").iterdir())) == 2


def test_the_base_model_has_no_rival_and_without_a_judge_nobody_has(playing: Run, exact: Exact) -> None:
    assert compare(playing, BASE, rows) == compare(playing, 0, rows) == {}
    assert compare(replace(playing, prepared=replace(playing.prepared, held_out_judge=None)), 2, rows) == {}
    assert not exact.asked
