"""What stands on the terminal is what was said, whoever said it."""

from __future__ import annotations

import io
import re
import signal

import pytest

from sparring.interruptions import Interruption
from sparring.judges.waiting import Outage
from sparring.progress import console, in_parts, progress
from sparring.terminal import Terminal

FOREIGN = "[/INST] [bold]x :smile:"


def test_words_of_a_server_and_titles_are_no_markup() -> None:
    with console.capture() as shown:
        Outage("http://127.0.0.1:1/v1").failed(FOREIGN, 600.0)
        with progress(FOREIGN, total=1, unit="") as meter:
            meter.advance(note=FOREIGN)
    outage, line = shown.get().split(" kept.\n")
    assert f"({FOREIGN})" in " ".join(outage.split())
    assert line == f"{FOREIGN}: 1/1  {FOREIGN}  in 0 s\n"


def test_a_live_bar_shows_them_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    terminal = Terminal(file=shown, force_terminal=True, width=200, _environ={"TERM": "xterm"})
    monkeypatch.setattr("sparring.progress.console", terminal)
    with progress(FOREIGN, total=1, unit="") as meter:
        meter.advance(note=FOREIGN)
    assert shown.getvalue().count(FOREIGN) >= 2


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    shown = io.StringIO()
    terminal = Terminal(file=shown, force_terminal=True, width=80, _environ={"TERM": "xterm"})
    monkeypatch.setattr("sparring.progress.console", terminal)
    return shown


def test_a_line_stays_of_what_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_a_terminal(monkeypatch)
    with progress("generate", total=2) as meter:
        meter.advance(2, quantity=10, note="best")
    # Above the bar, whose line is then cleared.
    kept = re.findall(r"generate: 2/2  [\d,]+ tokens/s  best  in 0 s", shown.getvalue())
    assert len(kept) == 1
    assert shown.getvalue().endswith("\x1b[2K")


def test_a_line_stays_of_what_was_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_a_terminal(monkeypatch)

    def work() -> None:
        with progress("train", total=9, unit="") as meter:
            meter.advance(3)
            raise Interruption(signal.SIGINT)

    with pytest.raises(Interruption):
        work()
    assert "train: 3/9  in 0 s  not finished" in shown.getvalue()


def test_a_line_says_how_long_the_rest_takes_at_the_pace_since_it_was_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 60.0, 60.0, 60.0, 60.0])
    monkeypatch.setattr("sparring.progress.time.monotonic", lambda: next(clock, 60.0))
    with console.capture() as shown, progress("train", total=90, unit="", before=10) as meter:
        meter.advance(20, note="loss 2")
    # 20 steps in a minute, and 60 are left.
    assert shown.get().splitlines()[0] == "train: 30/90  loss 2  about 3 min left"


def test_of_several_progresses_one_line_stays() -> None:
    with console.capture() as shown, in_parts("evaluate"):
        for part in ("greedy", "sampled"):
            with progress(part, total=1) as meter:
                meter.advance()
    assert shown.get() == "evaluate: in 0 s\n"


def test_what_goes_to_a_file_is_not_wrapped() -> None:
    to = io.StringIO()
    Terminal(file=to, width=20).print("a line that has more than twenty characters")
    assert to.getvalue() == "a line that has more than twenty characters\n"
