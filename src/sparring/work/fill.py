"""Computes and writes the missing shards of a job."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic

from sparring.errors import RunError
from sparring.progress import console, progress
from sparring.shard_files import remove_damaged, write_shard
from sparring.work import processes
from sparring.work.job import ContextT, Job, PieceT, Rows, Shards, Workers
from sparring.work.store import Shelf, Store


@dataclass(frozen=True, kw_only=True)
class Work(Generic[PieceT]):
    """The shards of a job.

    Attributes:
        pieces: The pieces of work, in order, by the shards that are computed from each. The shards of a piece are
            computed together or not at all, so that their bits do not depend on what a kill had left.
        missing: Tells whether a shard must be computed.
        tokens: Returns the number of tokens of a shard's rows, whose rate is shown.
        title: The title of the progress bar.
        shared: Whether other runs need the same shards, so that shards of earlier runs are reused.
    """

    pieces: Mapping[Shards, PieceT]
    missing: Callable[[Path], bool]
    tokens: Callable[[Rows], int]
    title: str
    shared: bool = False

    @property
    def shards(self) -> list[Path]:
        """All shards."""
        return [path for shards in self.pieces for path in shards]

    def lacks(self, shards: Shards) -> bool:
        """Whether any of a piece's shards must be computed."""
        return any(map(self.missing, shards))


def fill(
    context: ContextT,
    job: Job[ContextT, PieceT],
    work: Work[PieceT],
    *,
    workers: Workers,
    store: Store | None,
    log: Callable[[Mapping[str, Any]], None],
) -> None:
    """Writes the shards that are missing or damaged; afterwards every process sees all of them.

    Args:
        context: The context that the job is opened with.
        job: The job, which computes the rows of a piece.
        work: The shards.
        workers: The workers.
        store: The store of shards for other runs, or None.
        log: Called in the main process with an event about the shards that were reused.

    Raises:
        RunError: A piece could not be computed; the message names the work.
    """
    processes.on_main(lambda: _remove_damaged(work.shards))
    shelf = None if store is None or not work.shared else Shelf(store, partial(job.origin, context))
    if shelf is not None:
        processes.on_main(lambda: _reuse(shelf, work, log))
    mine = workers.share(list(work.pieces))
    todo = {shards: work.pieces[shards] for shards in mine if work.lacks(shards)}
    if todo:
        with progress(work.title, total=len(mine)) as meter:
            meter.advance(len(mine) - len(todo))
            start = time.monotonic()
            for shards, parts in _named(work.title, workers.run(context, job, todo)):
                seconds = (time.monotonic() - start) / len(shards)
                for number, (path, rows) in enumerate(zip(shards, parts, strict=True)):
                    write_shard(path, rows)
                    if shelf is not None:
                        shelf.put((work.pieces[shards], number), path, seconds=seconds)
                meter.advance(quantity=sum(map(work.tokens, parts)))
                start = time.monotonic()
    processes.wait()
    processes.wait_for_files(work.shards)


def _remove_damaged(paths: Iterable[Path]) -> None:
    for path in paths:
        remove_damaged(path)


def _named(title: str, done: Iterator[tuple[Shards, Sequence[Rows]]]) -> Iterator[tuple[Shards, Sequence[Rows]]]:
    """The rows as they are computed; errors get the title of the work in front."""
    try:
        yield from done
    except RunError as error:
        raise RunError(f"{title}: {error}") from error


def _reuse(shelf: Shelf, work: Work[PieceT], log: Callable[[Mapping[str, Any]], None]) -> None:
    """Copies the missing shards that an earlier run made, and says how many."""
    found = [
        shelf.take((piece, number), path)
        for shards, piece in work.pieces.items()
        if work.lacks(shards)
        for number, path in enumerate(shards)
    ]
    taken = [shard for shard in found if shard is not None]
    if not taken:
        return
    shards, tokens = len(taken), sum(work.tokens(shard.rows) for shard in taken)
    seconds = round(sum(shard.seconds for shard in taken), 3)
    log({"kind": "reused", "title": work.title, "shards": shards, "tokens": tokens, "seconds": seconds})
    text = f"{work.title}: {shards} of {len(work.shards)} shards were made by an earlier run"
    console.print(f"{text}; {tokens:,} tokens, {seconds:.0f} s saved")
