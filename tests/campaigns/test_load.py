"""The campaign `load` for seconds."""

from __future__ import annotations

import json
from pathlib import Path

import load


def test_none_is_lost_and_none_comes_out_otherwise(tmp_path: Path) -> None:
    figures = tmp_path / "load.json"
    code = load.main(["--judgements", "40", "--completions", "8", "--concurrency", "8", "--json", str(figures)])
    found = json.loads(figures.read_text())
    assert (code, found["faults"]) == (0, [])
    assert (found["judge"]["judged"], found["judge"]["abstained"]) == (39, 1)
    assert sum(found["judge"]["faults given"].values()) > 5
    assert found["completions"]["answered"] == 8
