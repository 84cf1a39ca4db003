"""What runs share: found by all that decides it, copied whole, and never in the way."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sparring.shard_files import read_shard, write_shard
from sparring.work.store import Shelf, Store, Taken

ROWS = [{"index": 0, "text": "seven"}, {"index": 1, "text": "eight"}]
ORIGIN = {"weights": "abc", "generation": {"temperature": 1.0}}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A shard in a run directory."""
    write_shard(tmp_path / "run" / "part-00000.parquet", ROWS)
    return tmp_path / "run" / "part-00000.parquet"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache" / "samples")


def shelf(store: Store, **changes: object) -> Shelf:
    return Shelf(store, lambda: ORIGIN | changes)


def test_what_one_run_put_another_takes_byte_by_byte(store: Store, made: Path, tmp_path: Path) -> None:
    shelf(store).put(("prompts", 5), made, seconds=1.25)
    taken = tmp_path / "other" / "part-00007.parquet"
    assert shelf(store).take(("prompts", 5), taken) == Taken(ROWS, 1.25)
    assert taken.read_bytes() == made.read_bytes()
    # A copy: whatever becomes of one run's file, the other's stays.
    assert taken.stat().st_ino != made.stat().st_ino
    assert taken.stat().st_nlink == 1


@pytest.mark.parametrize(
    ("changes", "piece"),
    [
        ({"weights": "abd"}, ("prompts", 5)),
        ({"generation": {"temperature": 0.9}}, ("prompts", 5)),
        ({"versions": {"torch": "2.14.0"}}, ("prompts", 5)),
        ({}, ("prompts", 6)),
        ({}, ("prompt", 5)),
    ],
)
def test_whatever_decides_it_is_asked_for(
    store: Store, made: Path, tmp_path: Path, changes: dict[str, object], piece: object
) -> None:
    shelf(store).put(("prompts", 5), made, seconds=1.0)
    assert shelf(store, **changes).take(piece, tmp_path / "taken") is None
    assert not (tmp_path / "taken").exists()


def test_the_origin_is_found_once_and_only_if_needed(store: Store, made: Path) -> None:
    asked: list[int] = []
    lazy = Shelf(store, lambda: asked.append(1) or ORIGIN)
    assert not asked
    for piece in (1, 2):
        lazy.put(piece, made, seconds=1.0)
    assert asked == [1]


@pytest.mark.parametrize("part", ["shard.parquet", "origin.json"])
def test_a_damaged_shard_is_not_taken_and_makes_room(store: Store, made: Path, tmp_path: Path, part: str) -> None:
    shelf(store).put(1, made, seconds=1.0)
    (entry,) = store.entries()
    content = (entry / part).read_bytes()
    (entry / part).write_bytes(content[: len(content) // 2])
    assert shelf(store).take(1, tmp_path / "taken") is None
    assert not store.entries()
    shelf(store).put(1, made, seconds=1.0)
    assert shelf(store).take(1, tmp_path / "taken") is not None


def test_a_cache_that_can_only_be_read_is_read(
    store: Store, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf(store).put(1, made, seconds=1.0)

    def refuse(path: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(os, "utime", refuse)
    assert shelf(store).take(1, tmp_path / "taken") == Taken(ROWS, 1.0)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("part", ["shard.parquet", "origin.json"])
def test_a_shard_that_cannot_be_read_now_stays(
    store: Store, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    shelf(store).put(1, made, seconds=1.0)
    read = Path.read_bytes

    def fail(path: Path) -> bytes:
        if path.name == part:
            raise OSError(5, "Input/output error", str(path))
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", fail)
        assert shelf(store).take(1, tmp_path / "taken") is None
    assert not (tmp_path / "taken").exists()
    assert shelf(store).take(1, tmp_path / "taken") is not None


@pytest.mark.parametrize("part", ["shard.parquet", "origin.json"])
def test_half_an_entry_makes_room(store: Store, made: Path, tmp_path: Path, part: str) -> None:
    shelf(store).put(1, made, seconds=1.0)
    (entry,) = store.entries()
    (entry / part).unlink()
    assert shelf(store).take(1, tmp_path / "taken") is None
    shelf(store).put(1, made, seconds=2.0)
    assert shelf(store).take(1, tmp_path / "taken") == Taken(ROWS, 2.0)


def test_settings_need_not_be_plain(store: Store, made: Path, tmp_path: Path) -> None:
    lora = {"target_modules": {"q_proj"}, "peft_type": Path("lora")}
    shelf(store, lora=lora).put(1, made, seconds=1.0)
    assert shelf(store, lora=lora).take(1, tmp_path / "taken") == Taken(ROWS, 1.0)
    assert shelf(store, lora={**lora, "target_modules": {"v_proj"}}).take(1, tmp_path / "other") is None


def test_the_first_of_two_equal_shards_stays(store: Store, made: Path, tmp_path: Path) -> None:
    shelf(store).put(1, made, seconds=1.0)
    shelf(store).put(1, made, seconds=2.0)
    taken = shelf(store).take(1, tmp_path / "taken")
    assert taken is not None
    assert taken.seconds == 1.0


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    shut = shelf(Store(tmp_path / "file" / "samples"))
    shut.put(1, made, seconds=1.0)
    assert shut.take(1, tmp_path / "taken") is None
    assert "samples are not kept for other runs" in capsys.readouterr().err


def test_what_is_not_used_is_removed(store: Store, made: Path, tmp_path: Path) -> None:
    for piece in (1, 2):
        shelf(store).put(piece, made, seconds=1.0)
    for entry in store.entries():
        os.utime(entry, (time.time() - 40 * 86400,) * 2)
    # Taken now, so it was used now.
    assert shelf(store).take(2, tmp_path / "taken") is not None
    (old,) = store.entries(unused_days=30)
    assert store.prune(unused_days=30).keys() == {old}
    assert shelf(store).take(1, tmp_path / "other") is None
    assert shelf(store).take(2, tmp_path / "other") is not None
    store.prune(unused_days=0)
    assert not store.entries()


def test_a_shard_that_was_taken_reads_as_any_other(store: Store, made: Path, tmp_path: Path) -> None:
    shelf(store).put(1, made, seconds=1.0)
    shelf(store).take(1, tmp_path / "taken.parquet")
    assert read_shard(tmp_path / "taken.parquet") == ROWS
