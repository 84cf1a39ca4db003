"""Who samples and scores: work in pieces, each of which becomes one shard.

A shard depends on its piece alone and not on who makes it, so the files are the same whoever does. The processes of
a launch share the pieces out among themselves; a Ray cluster takes them from a queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from sparring.errors import InputError
from sparring.progress import console, progress
from sparring.run_directory import write_shard
from sparring.training import processes
from sparring.training.store import Shelf

if TYPE_CHECKING:
    import torch

    from sparring.training.config import SelfPlayConfig
    from sparring.training.game import Game

Rows = list[dict[str, Any]]


class WorkersConfig(BaseModel):
    """Who samples and scores; it changes nothing in the result, so it may change when a run is resumed.

    Attributes:
        name: "processes": those that train, however many a launcher started. "ray": actors of a Ray cluster.
        count: How many actors Ray starts, each with a copy of the model.
        gpus: GPUs of each actor; a fraction shares one, and with none it samples and scores on the CPU.
        cpus: Cores of each actor.
        address: The cluster, e.g. "auto" for the one that this machine belongs to; None starts one here.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["processes", "ray"] = "processes"
    count: int = Field(default=1, ge=1)
    gpus: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    cpus: float = Field(default=1.0, gt=0.0, allow_inf_nan=False)
    address: str | None = None


def check_workers(config: SelfPlayConfig, device: torch.device) -> None:
    """Raises InputError where the workers cannot sample and score as the policy that trains on `device` would."""
    by_ray = config.workers.name == "ray"
    if config.generation.name != "transformers" and (processes.count() > 1 or by_ray):
        raise InputError(
            f"the generator '{config.generation.name}' takes its weights from one process, and several would sample",
            where="generation.name",
            fix="set it to transformers, or start one process with workers.name: processes",
        )
    if by_ray and config.workers.gpus == 0 and device.type == "cuda":
        raise InputError(
            "actors without a GPU would sample and score on the CPU, with other rounding than training has on CUDA",
            where="workers.gpus",
            fix="set it to 1, or to a fraction for actors that share one; or train on the CPU too: model.device: cpu",
        )


class Job(Protocol):
    """The same work on many pieces; with Ray it travels to another process, and so do the pieces."""

    def open(self, game: Game) -> AbstractContextManager[Callable[[Any], Rows]]:
        """Gets ready, and yields what makes a piece into the rows of its shard."""
        ...

    def origin(self, game: Game) -> Mapping[str, Any]:
        """All that decides the bits of its shards beside the pieces, as plain values."""
        ...


class Workers(Protocol):
    """Does a job's pieces."""

    def share(self, paths: Sequence[Path]) -> Sequence[Path]:
        """Which of the shards this process must see to."""
        ...

    def run(self, game: Game, job: Job, pieces: Mapping[Path, Any]) -> Iterator[tuple[Path, Rows]]:
        """Does these, and yields each one's rows when it is done."""
        ...


class Processes:
    """Every process of the launch does its share itself: shard i is made by process i mod their number."""

    def share(self, paths: Sequence[Path]) -> Sequence[Path]:
        """See the class."""
        return paths[processes.index() :: processes.count()]

    def run(self, game: Game, job: Job, pieces: Mapping[Path, Any]) -> Iterator[tuple[Path, Rows]]:
        """One after the other."""
        with job.open(game) as work:
            for path, piece in pieces.items():
                yield path, work(piece)


def workers(config: WorkersConfig) -> Workers:
    """The workers that a configuration names.

    Raises:
        InputError: Ray is not installed.
    """
    if config.name == "processes":
        return Processes()
    from sparring.training.ray_workers import RayWorkers

    return RayWorkers(config)


def fill(
    game: Game,
    job: Job,
    pieces: Mapping[Path, Any],
    *,
    missing: Callable[[Path], bool],
    tokens: Callable[[Rows], int],
    title: str,
    shared: bool = False,
) -> None:
    """Writes the shards that are missing; afterwards every process sees all of them.

    Args:
        game: The run.
        job: What makes a piece into a shard.
        pieces: The shards, in order, and what each is made of.
        missing: Whether a shard must be made.
        tokens: How many tokens a shard's rows took; their rate is shown.
        title: What the progress bar calls the work.
        shared: Whether other runs need the same shards, so that one that was made already is taken.
    """
    shelf = Shelf(game.store, partial(job.origin, game)) if shared and game.store is not None else None
    if shelf is not None:
        processes.on_main(lambda: _take(game, shelf, pieces, missing=missing, tokens=tokens, title=title))
    mine = game.workers.share(list(pieces))
    todo = {path: pieces[path] for path in mine if missing(path)}
    if todo:
        with progress(title, total=len(mine)) as meter:
            meter.advance(len(mine) - len(todo))
            start = time.monotonic()
            for path, rows in game.workers.run(game, job, todo):
                write_shard(path, rows)
                if shelf is not None:
                    shelf.put(pieces[path], path, seconds=time.monotonic() - start)
                meter.advance(quantity=tokens(rows))
                start = time.monotonic()
    processes.wait()
    processes.see(list(pieces))


def _take(
    game: Game,
    shelf: Shelf,
    pieces: Mapping[Path, Any],
    *,
    missing: Callable[[Path], bool],
    tokens: Callable[[Rows], int],
    title: str,
) -> None:
    """Copies what is missing here and an earlier run made, and says so."""
    found = [shelf.take(piece, path) for path, piece in pieces.items() if missing(path)]
    taken = [each for each in found if each is not None]
    if not taken:
        return
    saved = {
        "shards": len(taken),
        "tokens": sum(tokens(each.rows) for each in taken),
        "seconds": round(sum(each.seconds for each in taken), 3),
    }
    game.directory.log({"kind": "reused", "title": title, **saved})
    text = f"{title}: {saved['shards']} of {len(pieces)} shards were made by an earlier run"
    console.print(f"{text}; {saved['tokens']:,} tokens, {saved['seconds']:.0f} s saved", highlight=False)
