"""Scores on disk: whose they are, and whether they are all that is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sparring.selfplay.stages.score import _stored, tokens_digest
from sparring.shard_files import write_shard

RESPONSES = {(0, 0): ([1, 2], [3, 4]), (0, 1): ([1, 2], [5])}
TERMS = {(0, 0): [-1.0, -0.5], (0, 1): [-0.25]}


def rows(**changes: Any) -> list[dict[str, Any]]:
    return [
        {
            "index": key[0],
            "sample": key[1],
            "policy": 0,
            "log_prob": sum(TERMS[key]),
            "digest": tokens_digest(*tokens),
            "token_log_probs": TERMS[key],
        }
        | changes
        for key, tokens in RESPONSES.items()
    ]


@pytest.mark.parametrize("per_token", [False, True])
def test_the_scores_of_these_responses_are_taken(tmp_path: Path, per_token: bool) -> None:
    write_shard(tmp_path / "scores.parquet", rows())
    stored = _stored(tmp_path / "scores.parquet", RESPONSES, per_token=per_token)
    assert stored == {(0, 0): -1.5, (0, 1): -0.25}
    others = RESPONSES | {(0, 1): ([1, 2], [6])}
    assert _stored(tmp_path / "scores.parquet", others, per_token=per_token) is None
    assert _stored(tmp_path / "none.parquet", RESPONSES, per_token=per_token) is None


@pytest.mark.parametrize("kept", [False, True])
def test_a_file_without_terms_is_none_where_they_are_needed(tmp_path: Path, kept: bool) -> None:
    without = rows(token_log_probs=None)
    if not kept:
        for row in without:
            del row["token_log_probs"]
    write_shard(tmp_path / "scores.parquet", without)
    assert _stored(tmp_path / "scores.parquet", RESPONSES, per_token=False) is not None
    assert _stored(tmp_path / "scores.parquet", RESPONSES, per_token=True) is None
