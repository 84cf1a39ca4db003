"""Terminals and paths of other encodings than UTF-8."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sparring.cli.app import main

Sparring = Callable[..., tuple[object, str]]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_report_reaches_every_terminal(encoding: str, played: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    monkeypatch.setattr(sys, "argv", ["sparring", "report", str(played)])
    with pytest.raises(SystemExit) as ended:
        main()
    sys.stdout.flush()
    assert not ended.value.code
    assert "report.html" in written.getvalue().decode(encoding)


@pytest.mark.parametrize(
    "command", [["report", "run\udcff"], ["export", "run", "to\udcff"], ["generate", "m", "-p", "\udcff"]]
)
def test_bytes_that_are_no_text_are_refused(command: list[str], sparring: Sparring) -> None:
    code, told = sparring(*command)
    assert code == 2
    assert "holds bytes that are no text here" in told
