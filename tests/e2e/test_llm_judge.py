"""A run judged by an endpoint, killed half-way: what was paid for is not paid for again."""

from __future__ import annotations

import signal
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from judges.server import serving
from sparring.run_directory import RunDirectory
from sparring.shard_files import read_shard


def answer(prompt: str) -> str:
    return ("Verdict: A", "Verdict: B", "Verdict: tie", "I cannot say.")[zlib.crc32(prompt.encode()) % 4]


def test_a_killed_run_pays_for_no_verdict_twice_wherever_the_judge_is_by_then(
    cli: Callable[..., object], tiny_config: Callable[..., Path], tmp_path: Path
) -> None:
    config = tiny_config(
        iterations=1,
        warmup=None,
        objective={"name": "sppo"},
        judge={
            "name": "llm",
            "model": "m",
            "api_key_env": None,
            "prompt_price": 1.0,
            "concurrency": 2,
            "patience": 600.0,
        },
        generation={"samples_per_prompt": 3, "batch_size": 12},
    )
    with serving(answer) as first, serving(answer) as second:
        command = ("train", config, f"output={tmp_path / 'run'}", f"judge.base_url={first.url}")
        # In the second of three shards, after five answers of its two dozen.
        died = cli(*command, kill_at=("sparring.judges.replies:write_json", 29))
        assert died.returncode == -signal.SIGKILL
        stored = tmp_path / "run" / "config.yaml"
        stored.write_text(
            stored.read_text().replace(first.url, second.url).replace("patience: 600.0", "patience: 60.0")
        )
        done = cli("resume", tmp_path / "run")
        assert done.returncode == 0, done.stderr
    # What was on its way when the process died, one request for each thread, may be asked again.
    assert len(first.answered.keys() & second.answered.keys()) <= 2
    assert second.requests
    assert {1} == {*first.answered.values(), *second.answered.values()}
    answered = first.answered.keys() | second.answered.keys()
    stage = RunDirectory(tmp_path / "run").iteration(0)
    rows = [row for path in sorted(stage.judgements.iterdir()) for row in read_shard(path)]
    assert len(rows) == 12
    assert sum(row["unparsable"] for row in rows) > 0
    (event,) = [event for event in RunDirectory(tmp_path / "run").events() if "judge/cost" in event]
    assert event["judge/unparsable"] == sum(row["unparsable"] for row in rows)
    assert event["judge/cost"] == pytest.approx(100e-6 * len(answered))
