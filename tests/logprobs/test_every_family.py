"""No family of the installed transformers is scored or sampled wrongly without a word."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
# One of each way of being scored and sampled, or refused.
SOME = {
    "llama": ("packed", "batched"),
    "falcon_h1": ("padded", "batched, by batch"),
    "bart": ("padded", "equal lengths"),
    "rwkv": ("padded", "one by one"),
    "zamba2": ("padded", "batched, no cache"),
    "xlm": ("single", "equal lengths, no cache"),
    "rembert": ("whole", "batched"),
    "cpmant": ("", ""),
}


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark's own module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(logging.getLogger("sparring"), "level", logging.CRITICAL)
    return importlib.import_module("families_table")


@pytest.mark.parametrize("family", SOME)
def test_a_family_is_scored_and_sampled_as_expected(family: str, measuring: Any) -> None:
    row = measuring.measure(family)
    assert (row.layout, row.path) == SOME[family]
    assert not row.wrong
    assert row.path or row.words.startswith("refused: ")
    assert row.values <= 1e-3


def test_a_wrong_family_would_be_noticed(measuring: Any) -> None:
    right = {"layout": "packed", "path": "batched", "greedy": True}
    assert not measuring.Row("x", **right, values=1e-5, gradients=1e-5).wrong
    assert not measuring.Row("x", words="refused: in words").wrong
    assert measuring.Row("x", **right, values=1e-2).wrong
    assert measuring.Row("x", **right, values=float("nan")).wrong
    assert measuring.Row("x", **right, gradients=1e-2).wrong
    assert measuring.Row("x", **(right | {"greedy": False})).wrong


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_none_is_wrong_without_a_word(measuring: Any) -> None:
    rows = [measuring.measure(family) for family in measuring.FAMILIES]
    assert [row.family for row in rows if row.wrong] == []
    assert sum(bool(row.layout) for row in rows) >= 100
