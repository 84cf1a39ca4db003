"""The campaign of kills, for seconds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

CAMPAIGNS = Path(__file__).resolve().parents[2] / "campaigns"


def test_kills_leave_no_other_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CAMPAIGNS))
    import deaths
    import kill

    monkeypatch.setattr(sys, "argv", ["campaigns/kill.py"])
    # Without strace, whose calls are counted in one more run.
    monkeypatch.setattr(deaths.shutil, "which", lambda _: None)
    assert kill.main(["--kills", "2", "--seed", "3", "--minutes", "1", "--json", str(tmp_path / "kill.json")]) == 0
    found = json.loads((tmp_path / "kill.json").read_text())
    assert found["killed"] == 2
    assert found["faults"] == []
    assert sum(found["died while"].values()) == 2


def test_iterations_grow_neither_memory_nor_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CAMPAIGNS))
    import long

    found = long.measure(4, 0, lora=True, folder=tmp_path)
    assert len(found["memory_mib"]) == 4
    # The best and the last policy at most, and no sample.
    assert max(found["weights_and_samples_kib"]) <= 2.1 * min(found["weights_and_samples_kib"])
