"""The campaign `fuzz` for seconds: it feeds every kind of input, and finds a fault where there is one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import strategies as st

import fuzz
import fuzz_targets


def test_nothing_ends_in_a_traceback(tmp_path: Path) -> None:
    figures = tmp_path / "fuzz.json"
    code = fuzz.main(
        ["--inputs", "300", "--minutes", "0.1", "--failures", str(tmp_path / "failures"), "--json", str(figures)]
    )
    found = json.loads(figures.read_text())
    assert (code, found["faults"]) == (0, [])
    assert found["inputs"] >= 200
    assert {*found["by_kind"]} == {*fuzz_targets.TARGETS}
    counts = [each for name, each in found["by_kind"].items() if name != "judges' answers"]
    assert 0.25 < sum(each.get("read", 0) for each in counts) / sum(each["inputs"] for each in counts) < 0.75


def test_a_fault_is_found_made_small_and_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read(value: int, folder: Path) -> None:
        if value > 1000:
            raise KeyError(value)

    monkeypatch.setattr(fuzz_targets, "TARGETS", {"numbers": fuzz.Target(st.integers(0, 10**6), read, 1)})
    assert fuzz.main(["--inputs", "300", "--seed", "5", "--failures", str(tmp_path)]) == 1
    assert "KeyError: 1001" in (tmp_path / "numbers.txt").read_text()
    assert '"seed": 5' in capsys.readouterr().out
