"""Work in pieces, for a caller that is no run: squares of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import pytest

from launch import together
from sparring.shard_files import read_shard, write_shard
from sparring.work import processes
from sparring.work.config import WorkersConfig
from sparring.work.fill import Work, fill
from sparring.work.job import Rows
from sparring.work.local import Processes
from sparring.work.store import Store


@dataclass(frozen=True)
class Desk:
    """A context: what is added to every square, and how often a job was opened at it."""

    offset: int = 0
    opened: list[int] = field(default_factory=list)

    def portable(self) -> Self:
        return replace(self, opened=[])


@dataclass(frozen=True)
class Squares:
    """The squares of some numbers."""

    @contextmanager
    def open(self, context: Desk) -> Iterator[Callable[[list[int]], list[Rows]]]:
        context.opened.append(1)
        yield lambda numbers: [[{"square": number**2 + context.offset} for number in numbers]]

    def origin(self, context: Desk) -> Mapping[str, Any]:
        return {"work": "squares", "offset": context.offset}


def work(folder: Path, *, shared: bool = False) -> Work[list[int]]:
    return Work(
        pieces={(folder / f"{n}.parquet",): [n, n + 10] for n in range(5)},
        missing=lambda path: not path.exists(),
        tokens=len,
        title="squares",
        shared=shared,
    )


def squares(folder: Path) -> list[list[int]]:
    return [[row["square"] for row in read_shard(path)] for path in work(folder).shards]


SQUARES = [[n**2, (n + 10) ** 2] for n in range(5)]


def fill_all(desk: Desk, folder: Path, store: Store | None = None) -> list[Mapping[str, Any]]:
    events: list[Mapping[str, Any]] = []
    to_do = work(folder, shared=store is not None)
    fill(desk, Squares(), to_do, workers=Processes(), store=store, log=events.append)
    return events


def test_what_is_missing_is_made_and_what_is_there_is_left_alone(tmp_path: Path) -> None:
    desk = Desk()
    write_shard(tmp_path / "3.parquet", [{"square": -1}])
    fill_all(desk, tmp_path)
    assert squares(tmp_path) == [*SQUARES[:3], [-1], SQUARES[4]]
    assert len(desk.opened) == 1


def test_a_job_with_nothing_to_do_is_never_opened(tmp_path: Path) -> None:
    fill_all(Desk(), tmp_path)
    again = Desk()
    fill_all(again, tmp_path)
    assert again.opened == []


def test_what_another_made_of_the_same_pieces_is_taken_and_said(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    assert fill_all(Desk(), tmp_path / "one", store) == []
    desk = Desk()
    (event,) = fill_all(desk, tmp_path / "other", store)
    assert (event["kind"], event["title"], event["shards"], event["tokens"]) == ("reused", "squares", 5, 10)
    assert desk.opened == []
    assert squares(tmp_path / "other") == SQUARES
    # Another origin makes its own.
    fill_all(Desk(offset=1), tmp_path / "third", store)
    assert squares(tmp_path / "third")[0] == [1, 101]


def _share(rank: int, folder: str) -> None:
    desk = Desk()
    made: list[str] = []

    def missing(path: Path) -> bool:
        made.append(path.stem)
        return not path.exists()

    to_do = replace(work(Path(folder)), missing=missing)
    fill(desk, Squares(), to_do, workers=Processes(), store=None, log=lambda event: None)
    assert made == [["0", "2", "4"], ["1", "3"]][rank]
    # Whoever made them, all are there for everybody.
    assert squares(Path(folder)) == SQUARES
    assert processes.index() == rank


def test_two_processes_share_the_pieces_and_see_all_of_them(tmp_path: Path) -> None:
    together(_share, str(tmp_path))


def test_workers_say_where_they_are() -> None:
    assert isinstance(WorkersConfig().start(), Processes)
    assert not WorkersConfig().on_ray
    ray = WorkersConfig(name="ray", address="10.0.0.1:6379")
    assert ray.on_ray
    assert ray.cluster == "10.0.0.1:6379"
    assert WorkersConfig(name="ray", address="auto").cluster is None
    assert WorkersConfig(address="10.0.0.1:6379").cluster is None


def test_a_piece_that_fails_leaves_the_finished_ones(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Failing(Squares):
        @contextmanager
        def open(self, context: Desk) -> Iterator[Callable[[list[int]], list[Rows]]]:
            with super().open(context) as square:

                def fail_at_three(numbers: list[int]) -> list[Rows]:
                    if 3 in numbers:
                        raise RuntimeError("three")
                    return square(numbers)

                yield fail_at_three

    with pytest.raises(RuntimeError, match="three"):
        fill(Desk(), Failing(), work(tmp_path), workers=Processes(), store=None, log=lambda event: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.parquet", "1.parquet", "2.parquet"]


def test_shards_of_one_piece_are_made_together_or_not_at_all(tmp_path: Path) -> None:
    """The square of one depends on the others of its piece, as rounding does on what is computed beside it."""

    @dataclass(frozen=True)
    class Sums:
        @contextmanager
        def open(self, context: Desk) -> Iterator[Callable[[list[int]], list[Rows]]]:
            context.opened.append(1)
            yield lambda numbers: [[{"square": number**2 + sum(numbers)}] for number in numbers]

        def origin(self, context: Desk) -> Mapping[str, Any]:
            return {"work": "sums"}

    def pairs(folder: Path) -> Work[list[int]]:
        pieces = {(folder / f"a{n}.parquet", folder / f"b{n}.parquet"): [n, n + 10] for n in range(2)}
        return replace(work(folder, shared=True), pieces=pieces)

    def made(folder: Path, store: Store) -> list[list[dict[str, int]]]:
        fill(desk, Sums(), pairs(folder), workers=Processes(), store=store, log=lambda event: None)
        return [read_shard(path) for path in pairs(folder).shards]

    desk, store = Desk(), Store(tmp_path / "cache")
    whole = made(tmp_path / "one", store)
    assert whole == [[{"square": 10}], [{"square": 110}], [{"square": 13}], [{"square": 133}]]
    (tmp_path / "one" / "b1.parquet").unlink()
    assert made(tmp_path / "one", Store(tmp_path / "none")) == whole
    assert len(desk.opened) == 2
    # Another run takes all of them.
    assert made(tmp_path / "other", store) == whole
    assert len(desk.opened) == 2
