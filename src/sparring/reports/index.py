"""The index of many runs: the result of each, with a link to its report."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sparring.errors import InputError, SparringError
from sparring.files import write_text
from sparring.links import refuse_link
from sparring.reports.conclusion import conclude
from sparring.reports.page import GENERATOR, Page, build, render
from sparring.reports.run import write_report
from sparring.reports.summary import Summary, summarize
from sparring.run_directory import RunDirectory


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A run in the index.

    Attributes:
        name: Its folder, from the index's.
        link: The path of its report, relative to the index, so that both may be moved together.
        summary: The run; None where it cannot be read.
        told: Its conclusion's headline, or why it cannot be read.
        changed: When it last logged something, in UTC; empty where it has not yet.
    """

    name: str
    link: str
    summary: Summary | None
    told: str
    changed: str

    @property
    def cells(self) -> dict[str, Any]:
        """The cells of the table besides the name and the result of the run."""
        if self.summary is None:
            return {"objective": "–", "seed": "–", "iterations": "–", "state": "unreadable"}
        played = sum(row.name.startswith("iteration") for row in self.summary.rows)
        result = self.summary.result
        state = "goes on" if result is None else "stopped early" if result["stopped_early"] else "ended"
        return {
            "objective": ", then ".join(dict.fromkeys(phase.objective for phase in self.summary.phases)),
            "seed": str(self.summary.config["seed"]),
            "iterations": f"{played} of {self.summary.iterations}",
            "state": state,
        }


def runs_in(folder: Path) -> list[Path]:
    """The run directories in a folder, at any depth, by name; links are not followed."""
    return sorted(_runs_in(folder))


def _runs_in(folder: Path) -> Iterator[Path]:
    for root, folders, _ in os.walk(folder):
        if RunDirectory(Path(root)).is_begun():
            folders.clear()
            yield Path(root)
        folders[:] = [name for name in folders if not name.startswith(".")]


def write_index(folder: Path, to: Path | None = None) -> tuple[Path, list[Entry]]:
    """Writes the index of the runs in a folder, by default to its `index.html`, and the reports that are out of date.

    Raises:
        InputError: There is no run in it, or the file is there and is no page of sparring.
    """
    runs, path = runs_in(folder), to or folder / "index.html"
    if not runs:
        fix = "start a run with `sparring train CONFIG`"
        raise InputError("this is not a run directory, nor is there one in it", where=str(folder), fix=fix)
    for run in runs:
        RunDirectory(run).refuse_own(path)
    if refuse_link(path) or (path.exists() and GENERATOR not in path.read_text(encoding="utf-8", errors="replace")):
        fix = "name another file (--to), or remove it"
        raise InputError("there is something that sparring has not written", where=str(path), fix=fix)
    entries = [_entry(run, folder, path.parent) for run in runs]
    write_text(path, render(index_page(folder, entries)))
    return path, entries


def _entry(run: Path, folder: Path, base: Path) -> Entry:
    directory = RunDirectory(run)
    summary: Summary | None = None
    try:
        summary = summarize(run)
        if _is_old(directory):
            write_report(summary)
        told = conclude(summary, summary.answers()).headline
    except SparringError as error:
        told = str(error)
    changed = datetime.fromtimestamp(directory.metrics.stat().st_mtime, UTC) if directory.metrics.exists() else None
    return Entry(
        name=run.relative_to(folder).as_posix(),
        link=quote(Path(os.path.relpath(directory.report.resolve(), base.resolve())).as_posix()),
        summary=summary,
        told=told,
        changed="" if changed is None else f"{changed:%Y-%m-%d %H:%M}",
    )


def _is_old(directory: RunDirectory) -> bool:
    """Whether a run logged or measured something since its report was written."""
    if not directory.report.exists():
        return True
    measured = [stage.evaluation for stage in (directory.base, directory.warmup, *directory.played())]
    files = (directory.manifest, directory.metrics, directory.result, directory.stability, *measured)
    written = directory.report.stat().st_mtime_ns
    return any(file.stat().st_mtime_ns > written for file in files if file.exists())


def index_page(folder: Path, entries: list[Entry]) -> Page:
    """The page of many runs."""
    return build("index.html", f"Runs in {folder.resolve().name}", {}, name=folder.resolve().name, entries=entries)
