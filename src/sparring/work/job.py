"""A job, who does it, and what both must know of the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

Rows = Sequence[Mapping[str, Any]]
"""The rows of a shard."""


class Portable(Protocol):
    """What jobs are opened with: the caller's own, of which workers know no more than this."""

    def portable(self) -> Self:
        """What travels to a worker in another process in its place; it need not hold the data of any piece."""
        ...


ContextT = TypeVar("ContextT", bound=Portable)
ContextT_contra = TypeVar("ContextT_contra", bound=Portable, contravariant=True)
PieceT = TypeVar("PieceT")
PieceT_contra = TypeVar("PieceT_contra", contravariant=True)


class Job(Protocol[ContextT_contra, PieceT_contra]):
    """The same work on many pieces; with Ray it travels to another process, and so do the pieces."""

    def open(self, context: ContextT_contra, /) -> AbstractContextManager[Callable[[PieceT_contra], Rows]]:
        """Gets ready, and yields what makes a piece into the rows of its shard."""
        ...

    def origin(self, context: ContextT_contra, /) -> Mapping[str, Any]:
        """All that decides the bits of its shards beside the pieces, as plain values."""
        ...


class Workers(Protocol):
    """Does a job's pieces."""

    def share(self, paths: Sequence[Path]) -> Sequence[Path]:
        """Which of the shards this process must see to."""
        ...

    def run(
        self, context: ContextT, job: Job[ContextT, PieceT], pieces: Mapping[Path, PieceT]
    ) -> Iterator[tuple[Path, Rows]]:
        """Does these, and yields each one's rows when it is done."""
        ...
