"""Sampling and scoring on a Ray cluster: actors that each hold a copy of the model take pieces from a queue."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparring.errors import InputError, RunError
from sparring.run_directory import RunDirectory
from sparring.training import processes
from sparring.training.workers import Job, Processes, Rows, WorkersConfig

if TYPE_CHECKING:
    from sparring.training.game import Game

# Deaths that a piece survives; one that kills its actor every time would otherwise be tried for ever.
_RETRIES = 3


class RayWorkers:
    """Actors that outlive the stages; Ray starts one that died again, and gives it the piece that it had.

    The main process of a launch hands out the pieces and writes the shards.

    Args:
        config: How many actors, with what each.

    Raises:
        InputError: Ray is not installed, or the cluster cannot be reached.
    """

    def __init__(self, config: WorkersConfig) -> None:
        try:
            import ray
        except ImportError as error:
            fix = "pip install 'sparring[ray]', or set workers.name: processes"
            raise InputError("Ray is not installed", where="workers.name", fix=fix) from error
        self._ray: Any = ray
        self._config = config
        self._actors: list[Any] = []

    def share(self, paths: Sequence[Path]) -> Sequence[Path]:
        """All pieces go through the main process."""
        return paths if processes.is_main() else []

    def run(self, game: Game, job: Job, pieces: Mapping[Path, Any]) -> Iterator[tuple[Path, Rows]]:
        """As they are done, in no order."""
        from ray.util import ActorPool

        pool = ActorPool(self._started(game))
        try:
            yield from pool.map_unordered(lambda actor, item: actor.do.remote(job, *item), list(pieces.items()))
        except self._ray.exceptions.RayActorError as error:
            raise RunError(f"a Ray actor died {_RETRIES + 1} times over one piece of work: {error}") from error

    def _started(self, game: Game) -> list[Any]:
        if not self._actors:
            self._connect()
            options = {
                "num_cpus": self._config.cpus,
                "num_gpus": self._config.gpus,
                "max_restarts": -1,
                "max_task_retries": _RETRIES,
            }
            actor = self._ray.remote(**options)(_Actor)
            # A policy travels as its settings, and the pieces carry their own data.
            directory = RunDirectory(game.directory.path.absolute())
            game = dataclasses.replace(
                game, directory=directory, workers=Processes(), judges={}, embed=None, train=[], held_out=[]
            )
            self._actors = [actor.remote(game) for _ in range(self._config.count)]
        return self._actors

    def _connect(self) -> None:
        if self._ray.is_initialized():
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False}
        if self._config.address is None:
            # A cluster of this machine alone: nothing of it needs to be reached from elsewhere.
            options |= {"_node_ip_address": "127.0.0.1", "num_cpus": self._config.count * self._config.cpus}
        else:
            options = {"address": self._config.address, "log_to_driver": False}
        try:
            self._ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InputError(
                f"the Ray cluster cannot be reached ({error})",
                where="workers.address",
                fix="start it with `ray start`, or leave the address out for one on this machine",
            ) from error


class _Actor:
    """A process of the cluster with a copy of the model."""

    def __init__(self, game: Game) -> None:
        self._game = game
        self._job: Job | None = None
        self._open = ExitStack()

    def do(self, job: Job, path: Path, piece: Any) -> tuple[Path, Rows]:
        """The rows of a piece; what the job got ready stays until another job comes."""
        if job != self._job:
            # A job that cannot be opened leaves none open.
            self._job = None
            self._open.close()
            self._work = self._open.enter_context(job.open(self._game))
            self._job = job
        return path, self._work(piece)
