"""The campaign of numbers at their limits, for seconds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_extreme_numbers_are_finite_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "campaigns"))
    import numerics

    monkeypatch.setattr(sys, "argv", ["campaigns/numerics.py"])
    options = ["--seed", "0", "--count", "150", "--runs", "1", "--json", str(tmp_path / "numerics.json")]
    assert numerics.main(options) == 0, capsys.readouterr().out
    found = json.loads((tmp_path / "numerics.json").read_text())
    assert sum(found["of_losses"].values()) == 150
    assert found["of_runs"] == {"refused": 1}
