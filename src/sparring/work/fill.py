"""Fills a folder with the shards of a job."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic

from sparring.progress import console, progress
from sparring.shards import write_shard
from sparring.work import processes
from sparring.work.job import ContextT, Job, PieceT, Rows, Workers
from sparring.work.store import Shelf, Store


@dataclass(frozen=True, kw_only=True)
class Work(Generic[PieceT]):
    """Shards to be made of pieces, and how to tell what is left to do.

    Attributes:
        pieces: The shards, in order, and what each is made of.
        missing: Whether a shard must be made.
        tokens: How many tokens a shard's rows took; their rate is shown.
        title: What the progress bar calls the work.
        shared: Whether other callers need the same shards, so that one that was made already is taken.
    """

    pieces: Mapping[Path, PieceT]
    missing: Callable[[Path], bool]
    tokens: Callable[[Rows], int]
    title: str
    shared: bool = False


def fill(
    context: ContextT,
    job: Job[ContextT, PieceT],
    work: Work[PieceT],
    *,
    workers: Workers,
    store: Store | None,
    log: Callable[[Mapping[str, Any]], None],
) -> None:
    """Writes the shards that are missing; afterwards every process sees all of them.

    Args:
        context: What the job is opened with.
        job: What makes a piece into a shard.
        work: The shards.
        workers: Who makes them.
        store: Where shards that others need too are kept, if anywhere.
        log: Takes what was found in the store, in the main process.
    """
    shelf = None if store is None or not work.shared else Shelf(store, partial(job.origin, context))
    if shelf is not None:
        processes.on_main(lambda: _take(shelf, work, log))
    mine = workers.share(list(work.pieces))
    todo = {path: work.pieces[path] for path in mine if work.missing(path)}
    if todo:
        with progress(work.title, total=len(mine)) as meter:
            meter.advance(len(mine) - len(todo))
            start = time.monotonic()
            for path, rows in workers.run(context, job, todo):
                write_shard(path, rows)
                if shelf is not None:
                    shelf.put(work.pieces[path], path, seconds=time.monotonic() - start)
                meter.advance(quantity=work.tokens(rows))
                start = time.monotonic()
    processes.wait()
    processes.see(list(work.pieces))


def _take(shelf: Shelf, work: Work[PieceT], log: Callable[[Mapping[str, Any]], None]) -> None:
    """Copies what is missing here and was made before, and says so."""
    found = [shelf.take(piece, path) for path, piece in work.pieces.items() if work.missing(path)]
    taken = [each for each in found if each is not None]
    if not taken:
        return
    shards, tokens = len(taken), sum(work.tokens(each.rows) for each in taken)
    seconds = round(sum(each.seconds for each in taken), 3)
    log({"kind": "reused", "title": work.title, "shards": shards, "tokens": tokens, "seconds": seconds})
    text = f"{work.title}: {shards} of {len(work.pieces)} shards were made by an earlier run"
    console.print(f"{text}; {tokens:,} tokens, {seconds:.0f} s saved")
