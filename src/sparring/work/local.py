"""The processes of the launch as workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sparring.work import processes
from sparring.work.job import ContextT, Job, PieceT, Rows


class Processes:
    """The N processes of the launch: process i mod N writes shard i."""

    def share(self, paths: Sequence[Path]) -> Sequence[Path]:
        """The shards of this process."""
        return paths[processes.index() :: processes.count()]

    def run(
        self, context: ContextT, job: Job[ContextT, PieceT], pieces: Mapping[Path, PieceT]
    ) -> Iterator[tuple[Path, Rows]]:
        """The pieces one after the other."""
        with job.open(context) as work:
            for path, piece in pieces.items():
                yield path, work(piece)
