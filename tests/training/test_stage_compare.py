"""A policy's held-out responses beside its rivals', and the files that keep the verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sparring.judges import Question, StartedJudge, Verdict, VerifierJudge
from sparring.judges.protocol import verdict_of_scores
from sparring.metrics import Comparison
from sparring.run_directory import BASE, RunDirectory
from sparring.training.config import EvaluationConfig
from sparring.training.game import HELD_OUT
from sparring.training.stages.compare import compare
from sparring.types import EncodedExample

# By policy, two samples of each of two prompts.
TEXTS: Mapping[int, Mapping[int, Sequence[str]]] = {
    BASE: {4: ("no", "= 3"), 8: ("= 9", "no idea")},
    1: {4: ("= 3", "= 30"), 8: ("= 9", "= 9")},
    2: {4: ("= 3", "= 3"), 8: ("idea", "no idea")},
}


def game(folder: Path, *, warmed_up: bool = False) -> Any:
    """A judge by exact answers that abstains from "idea", and counts what it is asked."""
    asked: list[Question] = []

    def judge(questions: Sequence[Question]) -> list[Verdict]:
        asked.extend(questions)
        return [
            verdict_of_scores([None if text == "idea" else float(text == each.expert) for text in each.responses], 0.0)
            for each in questions
        ]

    if warmed_up:
        (folder / "warmup" / "model").mkdir(parents=True)
    experts = {4: "= 3", 8: "= 9"}
    directory = RunDirectory(folder)
    return SimpleNamespace(
        directory=directory,
        log=directory.log,
        config=SimpleNamespace(evaluation=EvaluationConfig(samples_per_prompt=2)),
        held_out_judge=VerifierJudge(),
        judges={HELD_OUT: StartedJudge(judge, "a rule")},
        asked=asked,
        held_out=[
            EncodedExample(index=index, prompt_ids=[3], expert_ids=[4], prompt="p", response=text)
            for index, text in experts.items()
        ],
    )


def rows(policy: int) -> dict[int, list[dict[str, Any]]]:
    return {index: [{"text": text} for text in texts] for index, texts in TEXTS[policy].items()}


def preferences(compared: list[list[Comparison]]) -> list[list[float | None]]:
    return [[pair.preference for pair in pairs] for pairs in compared]


def test_the_first_policys_rivals_are_one_and_are_asked_about_once(tmp_path: Path) -> None:
    playing = game(tmp_path)
    compared = compare(playing, 1, rows)
    assert compared["base"] == compared["previous"]
    assert preferences(compared["base"]) == [[1.0, 0.0], [0.5, 1.0]]
    assert compared["base"][0][0] == Comparison(preference=1.0, length=3, rival_length=2)
    assert [question.responses for question in playing.asked] == [
        ("= 3", "no"),
        ("= 9", "= 9"),
        ("= 30", "= 3"),
        ("= 9", "no idea"),
    ]


def test_verdicts_are_kept_and_what_was_open_is_logged(tmp_path: Path) -> None:
    compared = compare(game(tmp_path), 2, rows)
    assert preferences(compared["base"]) == [[1.0, 0.5], [None, 0.5]]
    assert preferences(compared["previous"]) == [[0.5, 1.0], [None, 0.0]]
    (event,) = RunDirectory(tmp_path).events()
    assert (event["judge/ties"], event["judge/abstentions"]) == (3, 2)
    again = game(tmp_path)
    assert compare(again, 2, rows) == compared
    assert not again.asked


def test_after_a_warm_up_its_policy_is_beside_the_base_model(tmp_path: Path) -> None:
    playing = game(tmp_path, warmed_up=True)
    compared = compare(playing, 0, lambda policy: rows(1 if policy == 0 else policy))
    assert preferences(compared["base"]) == preferences(compared["previous"]) == [[1.0, 0.0], [0.5, 1.0]]
    assert len(list((tmp_path / "warmup" / "held_out").iterdir())) == 2


def test_the_base_model_has_no_rival_and_without_a_judge_nobody_has(tmp_path: Path) -> None:
    playing = game(tmp_path)
    assert compare(playing, BASE, rows) == compare(playing, 0, rows) == {}
    playing.held_out_judge = None
    assert compare(playing, 2, rows) == {}
    assert not playing.asked
