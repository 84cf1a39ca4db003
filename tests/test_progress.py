"""What stands on the terminal is what was said, whoever said it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sparring.judges.chat import Outage
from sparring.progress import console, progress

FOREIGN = "[/INST] [bold]x :smile:"


def test_words_of_a_server_and_titles_are_no_markup() -> None:
    with console.capture() as shown:
        Outage("http://127.0.0.1:1/v1").failed(FOREIGN, 600.0)
        with progress(FOREIGN, total=1, unit="") as meter:
            meter.advance(note=FOREIGN)
    outage, line = shown.get().split(" kept.\n")
    assert f"({FOREIGN})" in " ".join(outage.split())
    assert line == f"{FOREIGN}: 1/1  {FOREIGN}\n"


def test_a_live_bar_shows_them_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=200, emoji=False, _environ={"TERM": "xterm"})
    monkeypatch.setattr("sparring.progress.console", terminal)
    with progress(FOREIGN, total=1, unit="") as meter:
        meter.advance(note=FOREIGN)
    assert shown.getvalue().count(FOREIGN) >= 2
