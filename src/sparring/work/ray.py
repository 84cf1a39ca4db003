"""Workers on a Ray cluster: actors, each with a copy of the model, take pieces from a queue."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from sparring.errors import InputError, RunError
from sparring.work import processes
from sparring.work.job import ContextT, Job, PieceT, Portable, Rows, Shards

# The number of retries of a piece whose actor died; a piece that kills every actor must not be tried for ever.
_RETRIES = 3


class RayWorkers:
    """Actors that live as long as the run; if one dies, Ray restarts it and gives it the same piece again.

    The main process of a launch hands out the pieces and writes the shards.

    Args:
        count: The number of actors.
        gpus: GPUs of each; with a fraction, actors share one.
        cpus: Cores of each.
        address: The address of the cluster; None starts one on this machine.

    Raises:
        InputError: Ray is not installed, or the cluster cannot be reached.
    """

    def __init__(self, *, count: int, gpus: float, cpus: float, address: str | None) -> None:
        try:
            import ray
        except ImportError as error:
            fix = "pip install 'sparring[ray]', or set workers.name: processes"
            raise InputError("Ray is not installed", where="workers.name", fix=fix) from error
        self._ray: Any = ray
        self._count, self._gpus, self._cpus, self._address = count, gpus, cpus, address
        self._actors: list[Any] = []

    def share(self, shards: Sequence[Shards]) -> Sequence[Shards]:
        """All shards in the main process, none in the others."""
        return shards if processes.is_main() else []

    def run(
        self, context: ContextT, job: Job[ContextT, PieceT], pieces: Mapping[Shards, PieceT]
    ) -> Iterator[tuple[Shards, Sequence[Rows]]]:
        """The pieces as they are done, in any order."""
        from ray.util import ActorPool

        pool = ActorPool(self._started(context))
        try:
            yield from pool.map_unordered(lambda actor, item: actor.do.remote(job, *item), list(pieces.items()))
        except self._ray.exceptions.RayActorError as error:
            raise RunError(f"a Ray actor died {_RETRIES + 1} times over one piece of work: {error}") from error

    def _started(self, context: Portable) -> list[Any]:
        if not self._actors:
            self._connect()
            options = {
                "num_cpus": self._cpus,
                "num_gpus": self._gpus,
                "max_restarts": -1,
                "max_task_retries": _RETRIES,
            }
            actor = self._ray.remote(**options)(_Actor)
            portable = context.portable()
            self._actors = [actor.remote(portable) for _ in range(self._count)]
        return self._actors

    def _connect(self) -> None:
        if self._ray.is_initialized():
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False}
        if self._address is None:
            # A cluster of this machine alone listens only on the loopback address.
            options |= {"_node_ip_address": "127.0.0.1", "num_cpus": self._count * self._cpus}
        else:
            options = {"address": self._address, "log_to_driver": False}
        try:
            self._ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InputError(
                f"the Ray cluster cannot be reached ({error})",
                where="workers.address",
                fix="start it with `ray start`, or leave the address out for one on this machine",
            ) from error


class _Actor:
    """A process of the cluster, with a context of its own."""

    def __init__(self, context: Portable) -> None:
        self._context = context
        self._job: Job[Any, Any] | None = None
        self._open = ExitStack()

    def do(self, job: Job[Any, PieceT], shards: Shards, piece: PieceT) -> tuple[Shards, Sequence[Rows]]:
        """The shards of a piece and their rows; a job stays open until another one comes."""
        if job != self._job:
            # Cleared first: if the job cannot be opened, none is open.
            self._job = None
            self._open.close()
            self._work = self._open.enter_context(job.open(self._context))
            self._job = job
        return shards, self._work(piece)
