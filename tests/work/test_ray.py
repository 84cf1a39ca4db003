"""A Ray cluster samples and scores what one process does, and survives the death of a worker."""

from __future__ import annotations

import dataclasses
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sparring.errors import RunError
from sparring.run_directory import RunDirectory
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.prepared import prepare
from sparring.selfplay.set_up import set_up
from sparring.selfplay.stages.generate import generate
from sparring.selfplay.stages.score import score
from sparring.shard_files import read_shard
from sparring.work.config import WorkersConfig
from sparring.work.ray import RayWorkers, _Actor


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[RayWorkers]:
    ray = pytest.importorskip("ray")
    tests = str(Path(__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield RayWorkers(WorkersConfig(name="ray", count=2))
        ray.shutdown()


@dataclasses.dataclass(frozen=True)
class Dying:
    """A job that takes its process with it, the first time that it is done."""

    mark: Path

    def open(self, game: Any) -> Any:
        return self

    def __enter__(self) -> Any:
        return self.do

    def origin(self, run: Any) -> dict[str, Any]:
        return {}

    def __exit__(self, *_: object) -> None:
        return None

    def do(self, piece: int) -> list[list[dict[str, int]]]:
        if piece == 1 and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return [[{"piece": piece}]]


def test_two_actors_make_the_shards_of_one_process_and_one_may_die(
    tiny_folder: Path, tmp_path: Path, cluster: RayWorkers
) -> None:
    config = SelfPlayConfig.model_validate(
        {
            "model": {"name": str(tiny_folder), "device": "cpu"},
            "data": {"source": "arithmetic", "limit": 6, "held_out": 0, "max_response_tokens": 8},
            "generation": {"batch_size": 2},
            "reuse": False,
        }
    )
    alone = set_up(prepare(config), RunDirectory(tmp_path / "alone"))
    shared = dataclasses.replace(alone, directory=RunDirectory(tmp_path / "shared"), workers=cluster)
    expected, found = (generate(game, 0) for game in (alone, shared))
    assert len(expected) == 3
    assert [read_shard(path) for path in found] == [read_shard(path) for path in expected]
    assert score(shared, 0, found) == score(alone, 0, expected)

    job = Dying(tmp_path / "died")
    pieces = {(tmp_path / f"{n}",): n for n in range(3)}
    assert dict(cluster.run(shared, job, pieces)) == {path: [[{"piece": n}]] for path, n in pieces.items()}
    assert job.mark.exists()


class Opening:
    """A job that counts how often it is opened and closed."""

    def __init__(self) -> None:
        self.opened = self.closed = 0

    @contextmanager
    def open(self, game: Any) -> Iterator[Any]:
        self.opened += 1
        yield lambda piece: [[{"piece": piece, "closed": self.closed}]]
        self.closed += 1

    def origin(self, run: Any) -> dict[str, Any]:
        return {}


class Broken:
    """A job that cannot be opened."""

    def open(self, game: Any) -> Any:
        raise RunError("broken")

    def origin(self, run: Any) -> dict[str, Any]:
        return {}


def test_an_actor_keeps_a_job_open_until_another_comes_even_one_that_fails() -> None:
    actor, job, path = _Actor(None), Opening(), (Path("shard"),)  # type: ignore[arg-type]
    for piece in (1, 2):
        assert actor.do(job, path, piece) == (path, [[{"piece": piece, "closed": 0}]])
    assert (job.opened, job.closed) == (1, 0)
    with pytest.raises(RunError, match="broken"):
        actor.do(Broken(), path, 3)
    assert actor.do(job, path, 4) == (path, [[{"piece": 4, "closed": 1}]])
    assert (job.opened, job.closed) == (2, 1)
