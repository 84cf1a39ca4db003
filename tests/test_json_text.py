"""JSON of numbers that JSON has no word for."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from sparring.cli.output import print_json
from sparring.files import append_json_line, read_json, write_json, write_json_lines
from sparring.json_text import numbers, to_json
from sparring.run_files import read_evaluation, read_events, sealed_event

ROOT = Path(__file__).parents[1]
VALUE = {"a": [math.inf, (-math.inf, 1.5)], "b": {"c": math.nan}, "d": "NaN", "é": None}


def strict(text: str) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_what_is_no_number_is_written_as_its_name() -> None:
    assert to_json(VALUE) == '{"a": ["Infinity", ["-Infinity", 1.5]], "b": {"c": "NaN"}, "d": "NaN", "é": null}'
    assert numbers(["Infinity", {"a": "-Infinity"}, "infinity"]) == [math.inf, {"a": -math.inf}, "infinity"]
    assert math.isnan(numbers("NaN"))


def test_every_way_to_write_json_writes_what_every_program_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_json(VALUE)
    write_json(tmp_path / "one", VALUE)
    write_json_lines(tmp_path / "lines", [VALUE])
    append_json_line(tmp_path / "line", VALUE)
    for text in (capsys.readouterr().out, *(path.read_text(encoding="utf-8") for path in tmp_path.iterdir())):
        found = strict(text)
        found.pop("sha256", None)
        assert found == strict(to_json(VALUE))
    # The digest is that of the file, and a text stays the text that it was.
    assert read_json(tmp_path / "one")["d"] == "NaN"


def test_a_run_reads_the_numbers_that_it_wrote(tmp_path: Path) -> None:
    estimate = {"mean": math.nan, "standard_error": math.inf, "n": 3}
    write_json(tmp_path / "evaluation.json", {"accuracy": estimate})
    found = read_evaluation(tmp_path / "evaluation.json")["accuracy"]
    assert (math.isnan(found["mean"]), found["standard_error"]) == (True, math.inf)
    append_json_line(tmp_path / "metrics.jsonl", sealed_event({"stage": "train", "grad_norm": -math.inf}))
    assert read_events(tmp_path / "metrics.jsonl") == [{"stage": "train", "grad_norm": -math.inf}]


def test_commands_write_json_in_one_way() -> None:
    others = {path.name for path in (ROOT / "src/sparring/cli").rglob("*.py") if "json.dump" in path.read_text("utf-8")}
    assert not others


@pytest.mark.parametrize("folder", ["benchmarks", "campaigns", "studies"])
def test_results_are_json(folder: str) -> None:
    paths = [*(ROOT / folder / "results").glob("*.json")]
    assert paths
    for path in paths:
        assert strict(path.read_text(encoding="utf-8"))
