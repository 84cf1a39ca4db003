"""Who may read what a run and the cache hold: whom the user's umask lets, no more and no fewer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from a_run import a_config
from sparring.selfplay.loop import resume, run
from sparring.selfplay.stages import train


@pytest.fixture
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.parametrize("umask", [0o027], indirect=True, ids=["a group may read"])
def test_every_file_of_a_run_and_the_cache_is_as_open_as_the_umask_says(
    umask: int, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / "cache"))
    data = {"source": "arithmetic", "limit": 2, "held_out": 1, "max_response_tokens": 4}
    training = {"max_steps": 2, "save_steps": 1, "report_to": "tensorboard"}
    config = a_config(tiny_folder, tmp_path / "run", data=data, iterations=1, training=training, reuse=True)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # Between the last checkpoint and the model, so that there is a checkpoint to look at.
        patch.setattr(train, "_leave_training", stop)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    checkpoint = tmp_path / "run" / "iterations" / "000" / "training" / "checkpoint-1"
    assert {"model.safetensors", "optimizer.pt"} <= {path.name for path in checkpoint.iterdir()}
    _check(tmp_path, umask)
    resume(tmp_path / "run")
    _check(tmp_path, umask)
    written = {path.name for path in tmp_path.rglob("*")}
    assert {"model.safetensors", "result.json", "metrics.jsonl", ".lock", "shard.parquet", "origin.json"} <= written
    assert (tmp_path / "run" / "tensorboard").is_dir()


def _check(folder: Path, umask: int) -> None:
    for path in folder.rglob("*"):
        expected = (0o777 if path.is_dir() else 0o666) & ~umask
        assert path.stat().st_mode & 0o777 == expected, f"{path}: {path.stat().st_mode:o}"
