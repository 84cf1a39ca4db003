"""A run or a cache of somebody else's: no command follows a link in it, to read, write or remove what it leads to."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from a_run import a_config
from sparring.errors import InputError
from sparring.files import read_json, write_json
from sparring.policies import Drawn
from sparring.run_directory import RunDirectory
from sparring.selfplay.checks.folder import make_folder
from sparring.shards import (
    answers_path,
    held_out_path,
    held_out_scores_path,
    judgements_path,
    log_ratios_path,
    samples_path,
    scores_path,
    teacher_path,
)

Sparring = Callable[..., tuple[object, str]]
DRAWN = Drawn(0, "sampled")
QUESTIONS = Path(__file__).parent / "questions.jsonl"


def layout(run: RunDirectory) -> list[Path]:
    """Every file and folder that a run reads, writes or removes; shards by one of each kind."""
    stages = [run.teacher, run.base, run.warmup, run.iteration(0), run.iteration(1)]
    first = run.iteration(0)
    samples = samples_path(first, DRAWN, 0)
    files = [run.config, run.manifest, run.metrics, run.lock, run.result, run.report, run.stability]
    folders = [run.path / "iterations", run.answers, run.tensorboard, run.answers / "ab", *(s.path for s in stages)]
    shards = [
        samples,
        judgements_path(first, samples),
        scores_path(first, samples, 0),
        teacher_path(run.teacher, "train", 0),
        held_out_path(first, "greedy", 0),
        held_out_scores_path(first, "expert", 0),
        answers_path(first),
        log_ratios_path(first),
    ]
    inside = [
        *(first.samples, first.judgements, first.scores, first.held_out, first.model, first.training, first.benchmarks),
        first.evaluation,
        run.base.evaluation,
        run.warmup.model,
        run.warmup.training,
        first.model / "config.json",
        first.model / "model.safetensors",
        first.training / "checkpoint-2",
        first.training / "checkpoint-2" / "optimizer.pt",
        first.benchmarks / "task-00000000.json",
        run.answers / "ab" / "abcd.json",
        run.tensorboard / "events.out.tfevents.1",
    ]
    return [*files, *folders, *shards, *inside]


PATHS = [str(path.relative_to("RUN")) for path in layout(RunDirectory(Path("RUN")))]


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A folder of the user's own, which must be as it was afterwards."""
    folder = tmp_path / "victim"
    (folder / "training").mkdir(parents=True)
    for name in ("diary.txt", "training/precious", "model.safetensors"):
        (folder / name).write_text("mine")

    def state() -> dict[str, tuple[int, int, bytes]]:
        return {
            str(path): (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
            for path in (folder, *sorted(folder.rglob("*")))
        }

    before = state()
    yield folder
    assert state() == before


def commands(run: Path, to: Path) -> list[list[object]]:
    return [
        ["resume", run],
        ["report", run],
        ["report", run, "--to", to / "report.html"],
        ["export", run, to / "model"],
        ["export-samples", run, to / "samples.parquet"],
        ["generate", run, "--prompt", "1 + 1?"],
        ["evaluate", "outputs", run, QUESTIONS, to / "outputs.json"],
        ["evaluate", "mt-bench", run, QUESTIONS],
        ["evaluate", "harness", run, "--tasks", "none"],
    ]


def refused(sparring: Sparring, command: list[object], names: Path) -> None:
    """The command ends with 2 and a message that names the link and the cure."""
    code, told = sparring(*command)
    assert code == 2, told
    assert f"{names}: is a" in told
    assert "put a plain copy in its place" in told


@pytest.mark.parametrize("name", PATHS)
def test_a_link_in_a_run_is_refused_by_every_command(
    name: str,
    played: Path,
    victim: Path,
    tmp_path: Path,
    sparring: Sparring,
) -> None:
    link, kept = played / name, tmp_path / "kept"
    made = [path for path in reversed(link.relative_to(played).parents) if not (played / path).exists()]
    link.parent.mkdir(parents=True, exist_ok=True)
    there = link.exists()
    if there:
        shutil.move(link, kept)
    is_folder = kept.is_dir() if there else not link.suffix
    if there and link.name in {"config.yaml", "manifest.json"}:
        # A run must be there for its links to be looked for.
        shutil.copy(kept, tmp_path / "copy")
        target = tmp_path / "copy"
    else:
        target = victim if is_folder else victim / "diary.txt"
    link.symlink_to(target)
    try:
        for command in commands(played, tmp_path):
            refused(sparring, command, link)
        with pytest.raises(InputError, match="is a link"):
            make_folder(a_config(tmp_path, played))
    finally:
        link.unlink()
        if there:
            shutil.move(kept, link)
        for path in reversed(made):
            (played / path).rmdir()
    assert sorted(path.name for path in tmp_path.iterdir()) in (["victim"], ["copy", "victim"])


def _pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path, _: Path) -> None:
    # The address of a socket is short.
    with socket.socket(socket.AF_UNIX) as one:
        before = Path.cwd()
        os.chdir(path.parent)
        one.bind(path.name)
        os.chdir(before)


def _hard_link(path: Path, victim: Path) -> None:
    path.hardlink_to(victim / "diary.txt")


def _loop(path: Path, _: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("make", [_pipe, _socket, _hard_link, _loop])
@pytest.mark.parametrize("name", ["metrics.jsonl", ".lock", "iterations/000/training", "stability.json"])
def test_whatever_else_is_no_plain_file_is_refused_and_not_waited_for(
    name: str,
    make: Callable[[Path, Path], None],
    played: Path,
    victim: Path,
    tmp_path: Path,
    sparring: Sparring,
) -> None:
    path, kept = played / name, tmp_path / "kept"
    there = path.exists()
    if there:
        path.rename(kept)
    make(path, victim)
    try:
        for command in commands(played, tmp_path)[:2]:
            refused(sparring, command, path)
    finally:
        path.unlink()
        if there:
            kept.rename(path)


def test_what_a_person_put_beside_a_run_is_theirs(played: Path, victim: Path, tmp_path: Path) -> None:
    mine = played / "my data"
    mine.symlink_to(victim)
    RunDirectory(played).require()
    mine.unlink()
    # So is the way to the run.
    (tmp_path / "way").symlink_to(played)
    RunDirectory(tmp_path / "way").require()


def test_a_run_of_its_own_holds_nothing_that_is_not_looked_at(played: Path) -> None:
    run = RunDirectory(played)
    looked_at = {path.relative_to(played).parts[0] for path in layout(run)}
    assert {path.name for path in played.iterdir()} <= looked_at


@pytest.mark.parametrize("best", ["../elsewhere", "{victim}", "iterations/../../elsewhere"])
def test_the_best_policy_is_one_of_the_run(
    best: str,
    played: Path,
    victim: Path,
    tmp_path: Path,
    sparring: Sparring,
) -> None:
    run = RunDirectory(played)
    shutil.copytree(run.iteration(0).path, played.parent / "elsewhere", dirs_exist_ok=True)
    before = read_json(run.result)
    write_json(run.result, before | {"best": best.format(victim=victim)})
    try:
        code, told = sparring("export", played, tmp_path / "model")
    finally:
        write_json(run.result, before)
    assert code == 2
    assert "the run has no policy" in told


@pytest.mark.parametrize("place", ["samples", "samples/{digest}", "samples/{digest}/shard.parquet", "samples/.lock"])
@pytest.mark.parametrize("remove", [True, False], ids=["removed", "counted"])
def test_a_link_in_the_cache_is_refused(
    place: str, remove: bool, victim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sparring: Sparring
) -> None:
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / "cache"))
    link = tmp_path / "cache" / place.format(digest="0" * 64)
    link.parent.mkdir(parents=True)
    link.symlink_to(victim / "diary.txt" if link.suffix or link.name == ".lock" else victim)
    if link.name != ".lock" or remove:
        refused(sparring, ["cache", *(["--remove-unused", "0"] if remove else [])], link)


def test_only_entries_of_the_cache_are_removed_from_it(
    victim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sparring: Sparring
) -> None:
    """The folder that $SPARRING_CACHE names may have had another use before."""
    shutil.copytree(victim, tmp_path / "cache" / "samples" / "mine")
    for name in ("0" * 64, "1" * 64 + ".partial"):
        (tmp_path / "cache" / "samples" / name).mkdir()
        (tmp_path / "cache" / "samples" / name / "shard.parquet").write_text("")
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / "cache"))
    code, told = sparring("cache", "--remove-unused", "0")
    assert code == 0
    assert "2 shards were removed" in told
    assert (tmp_path / "cache" / "samples" / "mine" / "diary.txt").read_text() == "mine"
    assert sorted(path.name for path in (tmp_path / "cache" / "samples").iterdir()) == [".lock", "mine"]
