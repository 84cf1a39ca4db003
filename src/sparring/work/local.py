"""The processes of the launch as workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sparring.work import processes
from sparring.work.job import ContextT, Job, PieceT, Rows, Shards


class Processes:
    """The N processes of the launch: process i mod N computes piece i."""

    def share(self, shards: Sequence[Shards]) -> Sequence[Shards]:
        """The shards of this process."""
        return shards[processes.index() :: processes.count()]

    def run(
        self, context: ContextT, job: Job[ContextT, PieceT], pieces: Mapping[Shards, PieceT]
    ) -> Iterator[tuple[Shards, Sequence[Rows]]]:
        """The pieces one after the other."""
        with job.open(context) as work:
            for shards, piece in pieces.items():
                yield shards, work(piece)
