"""Runs that start alike share what they sample there, to the bit, and each of them stays whole by itself."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.bits import contents
from sparring.run_directory import RunDirectory

Cli = Callable[..., object]
KL = [{"name": "forward-kl", "weight": 0.1}]


@pytest.fixture
def cached(cli: Cli, tmp_path: Path) -> Cli:
    """The command line with a cache of the test's own."""
    return lambda *command, **options: cli(*command, **options, environment={"SPARRING_CACHE": str(tmp_path / "cache")})


def reused(run: Path) -> dict[str, int]:
    return {event["title"]: event["shards"] for event in RunDirectory(run).events() if event.get("kind") == "reused"}


def test_a_warm_cache_changes_no_bit_and_a_run_needs_it_no_more(
    cached: Cli, tiny_config: Callable[..., Path], tmp_path: Path
) -> None:
    config = tiny_config(iterations=1, reuse=True, regularizers=KL)
    first, second = tmp_path / "first", tmp_path / "second"
    assert cached("train", config, f"output={first}").returncode == 0
    assert not reused(first)

    died = cached(
        "train", config, f"output={second}", kill_at=("sparring.trainer.trainer:SelfPlayTrainer.compute_loss", 18)
    )
    assert died.returncode == -signal.SIGKILL
    assert (second / "iterations/000/training").exists()
    shutil.rmtree(tmp_path / "cache")
    assert cached("resume", second).returncode == 0

    assert contents(second) == contents(first)
    for shard in sorted(first.rglob("*.parquet")):
        assert (second / shard.relative_to(first)).read_bytes() == shard.read_bytes()
    # Of 12 and of 4 prompts, four a batch: base and warm-up on the held-out set, iteration 0, and the reference.
    assert reused(second) == {
        "base: evaluate sampled and greedy": 2,
        "base: score the expert's and the base model's responses": 3,
        "warmup: evaluate sampled and greedy": 2,
        "warmup: score the expert's and policy 0's responses": 3,
        "base: score policy 0's responses": 2,
        "iteration 0: generate": 3,
        "iteration 0: score under policy 0": 3,
        "base: generate": 3,
    }


def test_another_algorithm_shares_the_start_alone(
    cached: Cli, tiny_config: Callable[..., Path], tiny_folder: Path, tmp_path: Path
) -> None:
    # A judge, an embedder and two samples a prompt, so that everything is measured there is.
    config = tiny_config(
        reuse=True,
        warmup=None,
        iterations=1,
        evaluation={"judge": {"name": "verifier"}, "samples_per_prompt": 2, "embedder": str(tiny_folder)},
    )
    one, other = tmp_path / "spif", tmp_path / "spin"
    assert cached("train", config, f"output={one}").returncode == 0
    done = cached("train", config, f"output={other}", "objective={name: spin, beta: 1.0}")
    assert done.returncode == 0
    assert "iteration 0: generate: 3 of 3 shards were made by an earlier run" in done.stderr
    ours, theirs = contents(one), contents(other)
    # What the iterate wrote differs, and so do its scores under the base model.
    differs = {name for name in ours if ours[name] != theirs[name]}
    assert differs
    base = "base/held_out/scores-policy-1"
    its_own = ("iterations/000/", f"{base}-sampled", f"{base}-greedy", "stability.json")
    assert all(name.startswith(its_own) for name in differs)
    assert not [name for name in differs if "samples" in name or "/scores/" in name]

    measured = ours["iterations/000/evaluation.json"]
    assert {"win_rate/base", "win_rate/previous", "self_bleu/prompt", "embedding_distance"} <= measured.keys()

    shown = json.loads(cached("cache", "--json").stdout)
    assert shown["shards"] > 0
    assert shown["bytes"] > 0
    cleared = json.loads(cached("cache", "--remove-unused", 0, "--json").stdout)
    assert (cleared["shards"], cleared["removed"]) == (0, shown["shards"])
