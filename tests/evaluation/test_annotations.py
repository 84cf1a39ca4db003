from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparring.errors import InputError
from sparring.evaluation import read_annotations, read_pool, write_outputs

ROW = {
    "instruction": "Name a colour.",
    "output_1": "Red is one.",
    "generator_1": "baseline",
    "output_2": "Red",
    "generator_2": "model",
    "annotator": "judge",
    "preference": 1.25,
}


def write(path: Path, *changes: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([ROW | change for change in changes]), encoding="utf-8")
    return path


def test_rows_become_probabilities_and_lengths(tmp_path: Path) -> None:
    verdicts = (1, 2, 1.25, 1.5, 0, None, float("nan"))
    (read,) = read_annotations(write(tmp_path / "a.json", *({"preference": verdict} for verdict in verdicts)))
    assert (read.model, read.baseline) == ("model", "baseline")
    np.testing.assert_array_equal(read.preference, [0, 1, 0.25, 0.5, 0.5, np.nan, np.nan])
    assert set(read.model_length) == {3}
    assert set(read.baseline_length) == {11}
    assert len(read.with_verdict().preference) == 5


def test_each_pair_of_generators_is_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", {}, {"generator_2": "other"}, {"output_2": ""})
    first, second = read_annotations(path)
    assert (first.model, len(first.preference)) == ("model", 2)
    assert (second.model, len(second.preference)) == ("other", 1)
    with pytest.raises(InputError, match="1 of 1 rows"):
        second.with_verdict()


def test_a_pool_is_every_file_of_annotations(tmp_path: Path) -> None:
    write(tmp_path / "one" / "judge" / "annotations.json", {})
    write(tmp_path / "two_annotations.json", {"generator_2": "two"})
    (tmp_path / "one" / "model_outputs.json").write_text("[]", encoding="utf-8")
    assert sorted(item.model for item in read_pool(tmp_path)) == ["model", "two"]
    with pytest.raises(InputError, match="no annotations"):
        read_pool(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preference": 3}, r"row 2, field 'preference': is not a preference: 3"),
        ({"preference": "model"}, "is not a preference"),
        ({"preference": True}, "is not a preference"),
        ({"output_2": None}, r"row 2, field 'output_2': is missing"),
        ({"instruction": 5}, "must be text, got int"),
        ({"annotator": "another judge"}, "several judges: another judge, judge"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_annotations(write(tmp_path / "a.json", {}, change))


def test_rows_without_a_preference_are_outputs_not_annotations(tmp_path: Path) -> None:
    row = {key: value for key, value in ROW.items() if key != "preference"}
    (tmp_path / "a.json").write_text(json.dumps([row]), encoding="utf-8")
    with pytest.raises(InputError, match="annotate the outputs first"):
        read_annotations(tmp_path / "a.json")


def test_outputs_have_the_fields_that_alpaca_eval_reads(tmp_path: Path) -> None:
    write_outputs(tmp_path / "outputs.json", ["one?", "two?"], ["1", "2"], generator="mine")
    assert json.loads((tmp_path / "outputs.json").read_text(encoding="utf-8")) == [
        {"instruction": "one?", "output": "1", "generator": "mine"},
        {"instruction": "two?", "output": "2", "generator": "mine"},
    ]
    with pytest.raises(ValueError, match="shorter"):
        write_outputs(tmp_path / "other.json", ["one?", "two?"], ["1"], generator="mine")
