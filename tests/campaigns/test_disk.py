"""The campaign of full disks, for seconds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_runs_on_full_disks_end_as_if_they_had_had_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "campaigns"))
    import disk

    monkeypatch.setattr(sys, "argv", ["campaigns/disk.py"])
    options = ["--seed", "1", "--runs", "1", "--iterations", "1", "--kinds", "call"]
    assert disk.main([*options, "--json", str(tmp_path / "disk.json")]) == 0, capsys.readouterr().out
    found = json.loads((tmp_path / "disk.json").read_text())
    assert found == json.loads(capsys.readouterr().out)
    assert (found["runs"], found["disturbed"], found["faults"]) == (1, 1, [])
    assert found["refused"]["exit code 1"] >= 1
