"""The processes of the launch as workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sparring.work import processes
from sparring.work.job import ContextT, Job, PieceT, Rows


class Processes:
    """Every process of the launch does its share itself: shard i is made by process i mod their number."""

    def share(self, paths: Sequence[Path]) -> Sequence[Path]:
        """See the class."""
        return paths[processes.index() :: processes.count()]

    def run(
        self, context: ContextT, job: Job[ContextT, PieceT], pieces: Mapping[Path, PieceT]
    ) -> Iterator[tuple[Path, Rows]]:
        """One after the other."""
        with job.open(context) as work:
            for path, piece in pieces.items():
                yield path, work(piece)
