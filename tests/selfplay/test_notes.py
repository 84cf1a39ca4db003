"""What is said of the machine before a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from a_run import a_config
from sparring.selfplay import notes as told
from sparring.selfplay.prepared import prepare


def says_bf16(tiny_folder: Path, tmp_path: Path, **changes: Any) -> bool:
    config = a_config(tiny_folder, tmp_path / "run", training=changes.pop("training", {}))
    config = config.model_copy(update={"model": config.model.model_copy(update=changes)})
    lines = told.notes(prepare(config))
    return any("model.dtype=bfloat16" in line for line in lines)


@pytest.mark.parametrize("has", [True, False])
def test_a_processor_with_products_in_bf16_is_told_of(
    has: bool, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(told, "multiplies_bf16", lambda: has)
    assert says_bf16(tiny_folder, tmp_path) == has
    assert not says_bf16(tiny_folder, tmp_path, dtype="bfloat16")
    assert not says_bf16(tiny_folder, tmp_path, training={"bf16": True})
