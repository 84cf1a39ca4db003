"""Judged pairs: answers of two models to annotations that the win rate is read from."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparring.errors import InputError
from sparring.evaluation import Outputs, annotate, read_annotations, tally, win_rate, write_outputs
from sparring.files import write_json
from sparring.judges import JUDGES

INSTRUCTIONS = ["1 + 1?", "2 + 2?", "3 + 3?", "4 + 4?"]
RIGHT = ["#### 2", "#### 4", "#### 6", "#### 8"]


def outputs(generator: str, *texts: str) -> Outputs:
    return Outputs(generator=generator, texts=texts)


def test_a_verifier_decides(tmp_path: Path) -> None:
    rows, counts = annotate(
        JUDGES["verifier"](rule="final-number").start(tmp_path),
        INSTRUCTIONS,
        model=outputs("model", "2", "4", "7", "9"),
        baseline=outputs("baseline", "2", "5", "8", "8"),
        references=RIGHT,
        annotator="verifier rule=final-number",
    )
    assert [row["preference"] for row in rows] == [1.5, 2.0, 1.5, 1.0]
    assert counts == {
        "ties": 2, "abstentions": 0, "unparsable": 0, "prompt_tokens": 0, "completion_tokens": 0, "cost": 0.0
    }  # fmt: skip
    write_json(tmp_path / "annotations.json", rows)
    (found,) = read_annotations(tmp_path / "annotations.json")
    assert (found.model, found.baseline) == ("model", "baseline")
    assert win_rate(found).rate == 0.5
    assert (tally(found).wins, tally(found).losses, tally(found).draws) == (1, 1, 2)


def test_what_the_judge_does_not_say_stays_open(tmp_path: Path) -> None:
    import re

    def only_long(response: str, expert: str) -> float | None:
        return None if re.fullmatch("shy", response) else float(len(response))

    judge = JUDGES["verifier"]().start(tmp_path)
    object.__setattr__(judge, "rule", only_long)
    rows, counts = annotate(
        judge,
        INSTRUCTIONS[:2],
        model=outputs("model", "shy", "long"),
        baseline=outputs("baseline", "a", "a"),
        references=RIGHT[:2],
        annotator="length",
    )
    assert [row["preference"] for row in rows] == [None, 2.0]
    assert counts["abstentions"] == 1


def test_answers_are_read_in_the_order_of_the_instructions(tmp_path: Path) -> None:
    path = tmp_path / "outputs.json"
    write_outputs(path, ["b", "a"], ["answer b", "answer a"], generator="model")
    assert Outputs.read(path, ["a", "b"]) == outputs("model", "answer a", "answer b")
    with pytest.raises(InputError, match="1 instructions have no answer, the first is 'c'"):
        Outputs.read(path, ["a", "c"])
    write_json(path, [{"instruction": "a", "output": "x"}])
    with pytest.raises(InputError, match="field 'generator': is missing"):
        Outputs.read(path, ["a"])
    write_json(path, [{"instruction": "a", "output": "x", "generator": name} for name in "xy"])
    with pytest.raises(InputError, match="has answers of several models: x, y"):
        Outputs.read(path, ["a"])
    write_json(path, [{"instruction": "a", "output": text, "generator": "m"} for text in "xxy"])
    with pytest.raises(InputError, match="row 3: is another answer to the instruction 'a'"):
        Outputs.read(path, ["a"])
