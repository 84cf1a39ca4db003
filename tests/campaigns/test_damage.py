"""The campaign of damages, for seconds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_spoiled_files_are_mended_or_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "campaigns"))
    import damage

    monkeypatch.setattr(sys, "argv", ["campaigns/damage.py"])
    options = ["--seed", "0", "--count", "3", "--kinds", "full", "--json", str(tmp_path / "damage.json")]
    assert damage.main(options) == 0, capsys.readouterr().out
    found = json.loads((tmp_path / "damage.json").read_text())
    assert found["damages"] == sum(found["outcomes"].values()) == 3
    assert found["faults"] == []
