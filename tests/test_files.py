"""Files that are either whole or absent."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sparring.errors import InputError
from sparring.files import (
    append_json_line,
    atomic_path,
    cache_root,
    lock,
    public_name,
    read_json,
    remove,
    whole_lines,
    write_json,
    write_text,
)


def read_json_lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in whole_lines(path)]


def test_the_cache_is_in_the_home_folder_unless_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SPARRING_CACHE", raising=False)
    assert cache_root() == Path.home() / ".cache" / "sparring"
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path))
    assert cache_root() == tmp_path


def test_a_path_is_called_by_its_last_part_and_a_hub_id_by_all_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "private" / "rows").mkdir(parents=True)
    for path in ("private/rows", "./gone/rows", "~/rows", "/home/me/rows", "home/me/rows"):
        assert public_name(path) == "rows"
    assert public_name("gone/rows.jsonl") == "rows.jsonl"
    for name in ("arithmetic", "owner/data", "Qwen/Qwen2.5-0.5B"):
        assert public_name(name) == name


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.txt"
    with atomic_path(path) as partial:
        partial.write_text("whole")
        assert partial.parent == path.parent
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_weights_in_a_folder_have_the_mode_that_the_umask_gives(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        with atomic_path(tmp_path / "model") as partial:
            partial.mkdir()
            save_file({"weight": torch.zeros(2)}, partial / "model.safetensors")
            (partial / "config.json").write_text("{}")
        files = sorted((tmp_path / "model").iterdir())
        assert [(file.name, file.stat().st_mode & 0o777) for file in files] == [
            ("config.json", mode),
            ("model.safetensors", mode),
        ]
    finally:
        os.umask(before)


def test_a_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with atomic_path(path) as partial:
        partial.mkdir()
        (partial / "old").write_text("old")
    with atomic_path(path) as partial:
        (partial / "deep").mkdir(parents=True)
        (partial / "deep" / "new").write_text("new")
        assert (path / "old").read_text() == "old"
    assert [file.relative_to(path).as_posix() for file in sorted(path.rglob("*"))] == ["deep", "deep/new"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_an_exception_leaves_the_old_content_and_no_partial(
    tmp_path: Path, folder: bool, error: type[BaseException]
) -> None:
    path = tmp_path / "thing"
    if folder:
        path.mkdir()
        (path / "part").write_text("old")
    else:
        path.write_text("old")

    def write_and_fail() -> None:
        with atomic_path(path) as partial:
            if folder:
                partial.mkdir()
            (partial / "part" if folder else partial).write_text("half")
            raise error

    with pytest.raises(error):
        write_and_fail()
    assert (path / "part" if folder else path).read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_what_a_killed_writer_left_is_replaced(tmp_path: Path, folder: bool) -> None:
    path = tmp_path / "file"
    with atomic_path(path) as partial:
        left = partial
        partial.write_text("")
    path.unlink()
    if folder:
        left.mkdir()
        (left / "half").write_text("half")
    else:
        left.write_text("half")
    write_text(path, "whole")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_json_round_trip_keeps_text_as_people_write_it(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    value = {"π": [1, 2.5, None, "Δ\u2028"], "nested": {"ok": True}}
    write_json(path, value)
    assert read_json(path) == value
    assert "π" in path.read_text(encoding="utf-8")


def test_json_lines_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_json_lines(path) == []
    # Characters that str.splitlines takes for line ends, though JSON does not escape them.
    events = [{"step": 1}, {"text": "a\u2028b\u2029c\x85d\ne"}, {"step": 3, "loss": 0.1}]
    for event in events:
        append_json_line(path, event)
    assert read_json_lines(path) == events
    assert path.read_bytes().count(b"\n") == len(events)


def cuts() -> list[int]:
    """Every place at which a kill may cut the second of two lines."""
    return list(range(len((json.dumps({"text": "é"}, ensure_ascii=False) + "\n").encode())))


@pytest.mark.parametrize("kept", cuts())
def test_a_torn_last_line_is_left_out_and_does_not_harm_the_next(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "metrics.jsonl"
    append_json_line(path, {"step": 1})
    start = path.stat().st_size
    append_json_line(path, {"text": "é"})
    path.write_bytes(path.read_bytes()[: start + kept])
    assert read_json_lines(path) == [{"step": 1}]
    append_json_line(path, {"step": 3})
    assert read_json_lines(path) == [{"step": 1}, {"step": 3}]


def test_a_torn_first_line_is_left_out_too(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"st')
    assert read_json_lines(path) == []
    append_json_line(path, {"step": 1})
    assert read_json_lines(path) == [{"step": 1}]


def test_a_damaged_line_in_the_middle_is_not_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"a": 1}\n{"b"\n{"c": 3}\n')
    with pytest.raises(json.JSONDecodeError):
        read_json_lines(path)


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to], ids=["symbolic", "hard"])
@pytest.mark.parametrize("name", ["lock", "append_json_line"])
def test_what_is_opened_in_place_follows_no_link(tmp_path: Path, name: str, link: Callable[[Path, Path], None]) -> None:
    victim, path = tmp_path / "victim", tmp_path / "run" / "file"
    victim.write_text('{"mine": 1}\n and half a line')
    path.parent.mkdir()
    link(path, victim)
    with pytest.raises(InputError, match=r"link.*\n  fix: remove it"):
        _open(name, path)
    assert victim.read_text() == '{"mine": 1}\n and half a line'


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
@pytest.mark.parametrize("name", ["lock", "append_json_line"])
def test_what_is_opened_in_place_is_a_file(tmp_path: Path, name: str, make: Callable[[Path], None]) -> None:
    make(tmp_path / "it")
    with pytest.raises(InputError, match=r"is a (pipe|folder)"):
        _open(name, tmp_path / "it")


def _open(name: str, path: Path) -> None:
    if name == "append_json_line":
        append_json_line(path, {"step": 1})
    else:
        with lock(path):
            pass


def test_a_lock_leaves_what_is_in_its_file(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("mine")
    with lock(tmp_path / "lock"), pytest.raises(BlockingIOError), lock(tmp_path / "lock", wait=False):
        pass
    assert (tmp_path / "lock").read_text() == "mine"


def test_an_error_names_the_file_that_was_to_be_written(tmp_path: Path) -> None:
    """As pyarrow and `write` raise it, which do not."""
    with pytest.raises(OSError, match=r"No space left on device: '.*shard'") as failed, atomic_path(tmp_path / "shard"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert failed.value.filename == str(tmp_path / "shard")


def test_remove_takes_files_folders_links_and_nothing(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("stays")
    link, file, folder = tmp_path / "link", tmp_path / "file", tmp_path / "folder"
    link.symlink_to(kept)
    file.write_text("goes")
    (folder / "deep").mkdir(parents=True)
    for path in (link, file, folder, tmp_path / "absent"):
        remove(path)
    assert list(tmp_path.iterdir()) == [kept]
    assert (kept / "file").read_text() == "stays"


def test_a_cache_of_nobody_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARRING_CACHE", "~nobody-of-this-name/x")
    with pytest.raises(InputError, match="names no folder"):
        cache_root()
