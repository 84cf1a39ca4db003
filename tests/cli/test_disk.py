"""Where a command may not write, or there is no space: what it says, and that nothing half written is left."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Sparring = Callable[..., tuple[object, str]]
QUESTIONS = Path(__file__).parent / "questions.jsonl"
# Nobody may make a file there, not even root.
CLOSED = Path("/sys")


def commands(run: Path, folder: Path) -> dict[str, list[object]]:
    """Every command that writes to where it is told, by name."""
    policy, short = run / "iterations" / "000", ["--max-tokens", "2"]
    return {
        "report": ["report", run, "--to", folder / "report.html"],
        "comparison": ["report", run, run, "--to", folder / "comparison.html"],
        "export": ["export", run, folder / "model", "--policy", "base"],
        "export-samples": ["export-samples", run, folder / "samples.parquet"],
        "outputs": ["evaluate", "outputs", policy, QUESTIONS, folder / "outputs.json", *short],
        "mt-bench": ["evaluate", "mt-bench", policy / "model", QUESTIONS, "--output", folder, *short],
    }


COMMANDS = list(commands(Path(), Path()))


@pytest.mark.parametrize("name", COMMANDS)
def test_where_nobody_may_write(name: str, played: Path, sparring: Sparring) -> None:
    code, told = sparring(*commands(played, CLOSED)[name])
    assert code == 2, told
    assert "sparring: /sys/" in told
    assert ".partial" not in told
    assert "this user has no right to it" in told or "can only be read" in told
    assert "fix: change its rights, or take another place (output=PATH" in told


@pytest.mark.parametrize("name", COMMANDS)
def test_where_there_is_no_space(
    name: str, played: Path, sparring: Sparring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    code, told = sparring(*commands(played, tmp_path)[name])
    assert code == 1, told
    assert told.splitlines()[-1].startswith(f"sparring: the disk is full ({tmp_path}")
    assert told.splitlines()[-1].endswith("; free some space, then give the command again")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_what_is_named_cannot_be_a_file(played: Path, sparring: Sparring, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.html").mkdir()
    names = {
        "folder.html": "is a folder where a file should be",
        "file/x.html": "file: is a file where a folder should be",
        "file/deep/x.html": "lies in a file as if that were a folder",
        f"{'x' * 300}.html": "has too long a name",
    }
    for name, problem in names.items():
        code, told = sparring("report", played, "--to", tmp_path / name)
        assert code == 2, told
        assert problem in told
    assert (tmp_path / "file").read_text() == "mine"


@pytest.fixture
def anothers(played: Path) -> Iterator[Path]:
    """A copy of the run that this user may read and not write."""
    folder = Path(tempfile.mkdtemp())
    shutil.copytree(played, folder / "run")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    user = os.geteuid()
    if user == 0:
        # Root may write everywhere.
        os.seteuid(65534)
    try:
        yield folder / "run"
    finally:
        os.seteuid(user)
        for path in (folder, folder / "run"):
            path.chmod(0o755)
        shutil.rmtree(folder)


def test_anothers_run_is_reported_to_a_place_of_ones_own(anothers: Path, sparring: Sparring) -> None:
    code, told = sparring("report", anothers)
    assert code == 2, told
    assert f"sparring: {anothers}/report.html" in told
    assert "this user has no right to it (Permission denied)" in told
    assert "--to FILE" in told
    with tempfile.TemporaryDirectory() as mine:
        code, told = sparring("report", anothers, "--to", Path(mine) / "report.html")
        assert code == 0, told
        assert (Path(mine) / "report.html").exists()


def test_a_run_that_may_not_even_be_looked_at(anothers: Path, sparring: Sparring) -> None:
    user = os.geteuid()
    os.seteuid(os.getuid())
    anothers.parent.chmod(0o000)
    os.seteuid(user)
    for command in (["resume", anothers], ["report", anothers], ["export-samples", anothers, "/tmp/x.parquet"]):
        code, told = sparring(*command)
        assert code == 2, told
        assert f"sparring: {anothers}" in told
        assert "this user has no right to it (Permission denied)" in told
