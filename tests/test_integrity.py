"""What was damaged is found: in JSON objects, in a log's lines and in folders."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from sparring.digests import DamagedError, with_digest, without_digest
from sparring.files import read_json, write_json
from sparring.integrity import DIGESTS, check_folder, seal
from sparring.run_directory import RunDirectory

VALUE = {"mean": 0.125, "names": ["é", "b"], "n": 3, "inner": {"1": None, "0": True}, "big": 1e300}


def test_an_object_comes_back_without_its_digest(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", VALUE)
    assert json.loads((tmp_path / "a.json").read_text()).keys() - VALUE.keys() == {"sha256"}
    assert read_json(tmp_path / "a.json") == VALUE
    assert without_digest(with_digest({1: (2, 3)})) == {1: (2, 3)}
    assert without_digest(json.loads(json.dumps(with_digest({1: (2, 3)}, 16)))) == {"1": [2, 3]}


@pytest.mark.parametrize("value", [VALUE, {"sha256": ""}, {"sha256": "ab"}, [], None, 3, "text"])
def test_what_has_no_digest_is_damaged(value: object) -> None:
    assert without_digest(value) is None


def test_no_flipped_bit_changes_what_is_read(tmp_path: Path) -> None:
    path, draw = tmp_path / "a.json", random.Random(0)
    write_json(path, VALUE)
    content, found = path.read_bytes(), 0
    for _ in range(400):
        changed = bytearray(content)
        changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(changed)
        try:
            read = read_json(path)
        except DamagedError:
            found += 1
        else:
            assert read == VALUE
    assert found > 300


@pytest.mark.parametrize("content", [b"", b"{", b"\xff{}", b"[" * 100_000, b"{}", b"null"])
def test_half_a_file_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DamagedError) as caught:
        read_json(path, fix="do this")
    assert (caught.value.where, caught.value.fix) == (str(path), "do this")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    (path / "part").mkdir(parents=True)
    (path / "a.bin").write_bytes(bytes(1000))
    (path / "part" / "b.txt").write_text("b")
    seal(path, log_lines=3)
    return path


def move_to_link(path: Path) -> None:
    path.rename(path.parents[1] / "elsewhere")
    path.symlink_to(path.parents[1] / "elsewhere")


DAMAGES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "flipped": (lambda f: (f / "a.bin").write_bytes(bytes(999) + b"\1"), "a.bin", "its sha256 is another"),
    "halved": (lambda f: (f / "a.bin").write_bytes(bytes(500)), "a.bin", "its sha256 is another"),
    "emptied": (lambda f: (f / "part" / "b.txt").write_bytes(b""), "part/b.txt", "its sha256 is another"),
    "removed": (lambda f: (f / "a.bin").unlink(), "a.bin", "missing"),
    "linked": (lambda f: move_to_link(f / "a.bin"), "a.bin", "link"),
    "added": (lambda f: (f / "c.bin").write_bytes(b"c"), "c.bin", "after the folder was written"),
    "digests removed": (lambda f: (f / DIGESTS).unlink(), "", "no digests.json"),
    "digests halved": (lambda f: (f / DIGESTS).write_text("{"), DIGESTS, "cannot be read"),
    "digests linked": (lambda f: move_to_link(f / DIGESTS), "", "no digests.json"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_folder_that_was_damaged_is_named(folder: Path, damage: str) -> None:
    check_folder(folder, fix="")
    (folder / DIGESTS).write_text((folder / DIGESTS).read_text() + "\n")
    act, where, words = DAMAGES[damage]
    act(folder)
    with pytest.raises(DamagedError, match=words) as caught:
        check_folder(folder, fix="take a copy")
    assert caught.value.where == str(folder / where)
    assert caught.value.fix == "take a copy"


def test_a_whole_folder_is_read_once(folder: Path) -> None:
    check_folder(folder, fix="")
    (folder / "a.bin").unlink()
    check_folder(folder, fix="")


def test_damaged_and_lost_lines_of_a_log_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDirectory(tmp_path)
    for step in range(5):
        run.log({"stage": "train", "iteration": 0, "step": step, "loss": 0.5})
    write_json(run.result, {"log_lines": run.log_lines()})
    assert [event["step"] for event in run.events()] == [0, 1, 2, 3, 4]
    assert not capsys.readouterr().err
    log = tmp_path / "metrics.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join([lines[0], lines[1].replace("0.5", "0.7"), "{\n", lines[3]]))
    assert [event["step"] for event in run.events()] == [0, 3]
    said = " ".join(capsys.readouterr().err.split())
    assert "2 lines are damaged, the first is line 2" in said
    assert "1 lines are missing" in said
