"""The index of a folder of runs."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from reports.whole_run import write_run
from sparring.cli.report import report_command
from sparring.errors import InputError
from sparring.reports.index import runs_in, write_index

EVIL = "</a><script>alert(1)</script>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three runs, one of them deeper and not ended, with a name that is markup and no plain address."""
    folder = tmp_path / "runs"
    write_run(folder / "b", objective={"name": "spin", "beta": 0.1})
    write_run(folder / "deep" / "a", seed=7)
    write_run(folder / "c <b>#1?.." / "x", ended=False)
    (folder / ".hidden").mkdir()
    (folder / "notes").mkdir()
    return folder


def test_runs_are_found_at_any_depth_and_not_within_each_other(folder: Path) -> None:
    write_run(folder / "b" / "iterations" / "copy")
    write_run(folder / ".hidden" / "run")
    (folder / "notes" / "link").symlink_to(folder / "b")
    assert [run.relative_to(folder).as_posix() for run in runs_in(folder)] == ["b", "c <b>#1?../x", "deep/a"]


def test_every_run_has_a_line_and_a_link_that_lasts(folder: Path, tmp_path: Path) -> None:
    path, entries = write_index(folder)
    assert path == folder / "index.html"
    assert [entry.cells["state"] for entry in entries] == ["ended", "goes on", "ended"]
    assert [entry.cells["seed"] for entry in entries] == ["0", "0", "7"]
    assert entries[0].told.startswith("No gain of self-play can be told from chance.")
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    text = (moved / "index.html").read_text(encoding="utf-8")
    assert "<b>#1" not in text
    # Neither plotly nor charts: a page that opens at once.
    assert len(text) < 100_000
    links = re.findall(r'<a href="([^"#]+)"', text)
    assert len(links) == 3
    for link in links:
        assert (moved / unquote(link)).read_text(encoding="utf-8").startswith("<!doctype html>")


def test_only_what_is_out_of_date_is_written_again(folder: Path) -> None:
    write_index(folder)
    reports = [run / "report.html" for run in runs_in(folder)]
    for report in reports:
        report.write_text("mine", encoding="utf-8")
    metrics = reports[0].parent / "metrics.jsonl"
    later = reports[0].stat().st_mtime + 10
    os.utime(metrics, (later, later))
    write_index(folder)
    assert [report.read_text(encoding="utf-8") == "mine" for report in reports] == [False, True, True]


def test_a_run_that_cannot_be_read_is_listed_with_the_reason(folder: Path) -> None:
    (folder / "b" / "result.json").write_text(EVIL, encoding="utf-8")
    path, entries = write_index(folder)
    assert (entries[0].summary, entries[0].cells["state"]) == (None, "unreadable")
    assert "result.json" in entries[0].told
    assert "<script>alert" not in path.read_text(encoding="utf-8")


def test_a_page_of_somebody_else_stays(folder: Path) -> None:
    (folder / "index.html").write_text("my site", encoding="utf-8")
    with pytest.raises(InputError, match="something that sparring has not written"):
        write_index(folder)
    assert (folder / "index.html").read_text(encoding="utf-8") == "my site"
    assert write_index(folder, folder / "runs.html")[0].exists()
    write_index(folder, folder / "runs.html")


def test_the_command_lists_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def report(runs: list[Path], *, as_json: bool) -> None:
        report_command(runs, to=None, watch=False, port=0, as_json=as_json)

    report([folder], as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["b", "c <b>#1?../x", "deep/a", "index"]
    (folder / "b" / "result.json").unlink()
    (folder / "b" / "stability.json").write_text("x", encoding="utf-8")
    report([folder], as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["runs"][0]["run"] == "b"
    assert "stability.json" in told["runs"][0]["problem"]
    assert told["runs"][1]["conclusion"]["headline"].startswith("This run has not ended")
    with pytest.raises(InputError, match="not a run directory, nor is there one in it"):
        report([folder / "notes"], as_json=False)
