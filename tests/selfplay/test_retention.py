"""Retention: what nothing needs any more goes, what a later stage needs stays, and the run is the same run."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from a_run import a_config, a_run
from e2e.bits import weights_digest
from sparring.cli.candidates import candidates
from sparring.cli.models import export_samples_command
from sparring.errors import InputError
from sparring.exports.named import weights_of
from sparring.files import read_json
from sparring.progress import console
from sparring.reports.run import write_report
from sparring.reports.summary import summarize
from sparring.run_directory import RunDirectory
from sparring.selfplay.config.keep import KeepConfig
from sparring.selfplay.loop import resume, run
from sparring.selfplay.phases import phases_of
from sparring.selfplay.result import Result
from sparring.selfplay.retention import (
    Stored,
    kept_models,
    kept_samples,
    models_at_once,
    retain,
)
from sparring.selfplay.run import Run

DATA = {"source": "arithmetic", "limit": 3, "held_out": 2, "max_response_tokens": 4}
SMALL: dict[str, Any] = {
    "data": DATA,
    "generation": {"batch_size": 4},
    "training": {"learning_rate": 1e-3},
    "iterations": 3,
    "stop": {"enabled": False},
}
LEAST = {"keep": {"models": 1, "samples": 0}}


def phases(tmp_path: Path, **settings: Any) -> Any:
    return phases_of(a_config(tmp_path / "model", tmp_path / "run", **{"iterations": 5, **settings}))


@pytest.mark.parametrize(
    ("settings", "models", "samples"),
    [
        ({}, {0, 3}, set()),
        ({"opponent": {"name": "previous-two"}}, {0, 2, 3}, set()),
        ({"opponent": {"name": "fictitious-play", "history": 3}}, {0, 1, 2, 3}, set()),
        ({"opponent": {"name": "fictitious-play"}}, {0, 1, 2, 3}, set()),
        ({"objective": {"name": "t-spin"}}, {0, 3}, {0}),
        # The second phase learns from the responses to its own first iteration, which is being played.
        ({"phases": [{"iterations": 2}, {"iterations": 3, "objective": {"name": "t-spin"}}]}, {0, 3}, {2}),
    ],
)
def test_what_the_iterations_to_come_need_is_kept(
    tmp_path: Path, settings: dict[str, Any], models: set[int], samples: set[int]
) -> None:
    """After policy 3 of 5, where as little as possible is kept."""
    keep, played = KeepConfig(models=1, samples=0), phases(tmp_path, **settings)
    assert kept_models(keep, played, 3) == models
    assert kept_samples(keep, played, 3) == samples
    # Nothing is to come.
    assert kept_models(keep, played, 5) == {0, 5}
    assert kept_samples(keep, played, 5) == set()


def samples_at_once(keep: KeepConfig, played: Any) -> Stored:
    """Of how many of 5 iterations samples are kept, with those of the one that is played."""
    stored = [len(kept_samples(keep, played, policy)) for policy in range(6)]
    return Stored(max(stored[:-1]) + 1, stored[-1])


def test_what_is_on_the_disk_at_once(tmp_path: Path) -> None:
    """The warm-up, the best and the last of 5 iterations, and one more while it is written."""
    played = phases(tmp_path)
    assert models_at_once(KeepConfig(), played, warmed_up=True) == Stored(6, 6)
    assert models_at_once(KeepConfig(), played, warmed_up=False) == Stored(5, 5)
    assert models_at_once(KeepConfig(models=1), played, warmed_up=True) == Stored(4, 3)
    assert models_at_once(KeepConfig(models=2), played, warmed_up=False) == Stored(4, 3)
    assert samples_at_once(KeepConfig(), played) == Stored(5, 5)
    assert samples_at_once(KeepConfig(samples=1), played) == Stored(2, 1)
    assert samples_at_once(KeepConfig(samples=0), played) == Stored(1, 0)


@pytest.fixture(scope="module")
def whole(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("retention") / "whole"
    run(a_config(tiny_folder, output, **SMALL))
    return output


def names(run: Path, pattern: str) -> set[str]:
    return {str(path.relative_to(run)) for path in run.glob(pattern)}


@pytest.fixture(scope="module")
def sparing(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, str]:
    """The result of the same run that keeps as little as possible, and what it said."""
    output = tmp_path_factory.mktemp("retention") / "sparing"
    with console.capture() as said:
        result = run(a_config(tiny_folder, output, **SMALL, **LEAST))
    return result, " ".join(said.get().split())


def test_a_run_that_keeps_little_is_the_same_run(sparing: tuple[Result, str], whole: Path) -> None:
    result, told = sparing
    best = read_json(whole / "result.json")["best"]
    assert read_json(result.directory / "result.json")["best"] == best
    kept = {f"{best}/model", "iterations/002/model"} - {"base/model"}
    assert names(result.directory, "iterations/*/model") == kept
    assert names(result.directory, "iterations/*/samples") == set()
    for name in ("iterations/000", "iterations/001", "iterations/002"):
        assert read_json(result.directory / name / "evaluation.json") == read_json(whole / name / "evaluation.json")
    assert "removed the samples of iteration 000, which nothing needs any more (keep.samples)" in told
    assert "removed the weights of iteration" in told
    # It is done, and stays so.
    with console.capture() as said:
        assert resume(result.directory) == result
    assert "removed" not in said.get()
    assert names(result.directory, "iterations/*/model") == kept


def test_what_was_removed_is_said_where_it_is_asked_for(
    sparing: tuple[Result, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = RunDirectory(sparing[0].directory)
    gone = next(n for n in range(2) if directory.iteration(n).model != sparing[0].best)
    with pytest.raises(InputError, match=f"the weights of 'iterations/00{gone}' were removed when nothing needed them"):
        weights_of(directory, f"iterations/00{gone}")
    export_samples_command(directory.path, tmp_path / "samples.parquet", as_json=False)
    # What is left is exported: the held-out responses.
    rows, removed = capsys.readouterr().out.splitlines()
    assert int(rows.split(" rows")[0]) > 0
    assert removed == "the samples of iterations/000, iterations/001, iterations/002 were removed (keep.samples)"
    assert "samples of 3 iterations (keep)" in write_report(summarize(directory.path)).read_text()
    names = [candidate.name for candidate in candidates(str(directory.path), trust_remote_code=False)]
    assert f"iterations/00{gone}" not in names
    assert "iterations/002" in names
    assert f"iterations/00{gone}" in " ".join(capsys.readouterr().err.split())


@pytest.fixture(scope="module")
def playing(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return a_run(tiny_folder, tmp_path_factory.mktemp("retention") / "playing", **SMALL, **LEAST)


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.mark.parametrize("call", range(1, 30, 2))
def test_killed_while_it_removes_the_next_call_removes_the_rest(
    playing: Run, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """At every second change of the folder: a note written, a folder renamed, a file of it unlinked."""
    shutil.copytree(whole, tmp_path / "run")
    here = replace(playing, directory=RunDirectory(tmp_path / "run"))
    with monkeypatch.context() as patch:
        count = itertools.count(1)
        for owner, name in ((Path, "replace"), (os, "unlink"), (os, "rmdir")):
            patch.setattr(owner, name, dying(getattr(owner, name), count, call))
        with pytest.raises(Killed):
            retain(here, 3, best=1)
    for number in range(3):
        folder, noted = here.directory.iteration(number), here.directory.iteration(number).removed()
        # What is there is whole; what is not, or is on its way, is known to have been removed.
        assert folder.model.exists() or "model" in noted
        assert folder.samples.exists() or "samples" in noted
        if folder.model.exists():
            assert weights_digest(folder.model) == weights_digest(whole / "iterations" / f"00{number}" / "model")
    retain(here, 3, best=1)
    assert names(tmp_path / "run", "iterations/*/model") == {"iterations/000/model", "iterations/002/model"}
    assert names(tmp_path / "run", "iterations/*/s[ac]*") == names(tmp_path / "run", "iterations/*/judgements") == set()
    assert not list((tmp_path / "run").rglob("*.partial"))


def dying(do: Callable[..., Any], count: Iterator[int], call: int) -> Callable[..., Any]:
    def die(*args: Any, **kwargs: Any) -> Any:
        if next(count) == call:
            raise Killed
        return do(*args, **kwargs)

    return die
