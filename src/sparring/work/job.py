"""The protocols of jobs, of workers, and of the context that a job is opened with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

Rows = Sequence[Mapping[str, Any]]
"""The rows of a shard."""

Shards = tuple[Path, ...]
"""The shards that are computed from one piece, in the order of the rows that a job returns."""


class Portable(Protocol):
    """The context that a job is opened with, as far as workers need it."""

    def portable(self) -> Self:
        """A copy to send to a worker in another process; it need not hold the data of any piece."""
        ...


ContextT = TypeVar("ContextT", bound=Portable)
ContextT_contra = TypeVar("ContextT_contra", bound=Portable, contravariant=True)
PieceT = TypeVar("PieceT")
PieceT_contra = TypeVar("PieceT_contra", contravariant=True)


class Job(Protocol[ContextT_contra, PieceT_contra]):
    """A computation on many pieces; for Ray it is pickled into another process, and so are the pieces."""

    def open(self, context: ContextT_contra, /) -> AbstractContextManager[Callable[[PieceT_contra], Sequence[Rows]]]:
        """Prepares the computation, and yields the function from a piece to the rows of each of its shards."""
        ...

    def origin(self, context: ContextT_contra, /) -> Mapping[str, Any]:
        """Everything except the pieces that decides the bits of its shards, as plain values."""
        ...


class Workers(Protocol):
    """The workers of a launch, or of a cluster."""

    def share(self, shards: Sequence[Shards]) -> Sequence[Shards]:
        """The shards that this process must write, out of those of all pieces."""
        ...

    def run(
        self, context: ContextT, job: Job[ContextT, PieceT], pieces: Mapping[Shards, PieceT]
    ) -> Iterator[tuple[Shards, Sequence[Rows]]]:
        """Computes pieces, and yields the rows of each one's shards when it is done."""
        ...
