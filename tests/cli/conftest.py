"""A run that has ended, and the command line in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from a_run import a_config
from sparring.cli.app import app, main
from sparring.selfplay.loop import run

# Made once: it takes longer than a command that is refused.
COMMAND = typer.main.get_command(app)


@pytest.fixture(scope="session")
def played(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended; a test leaves it as it was."""
    output = tmp_path_factory.mktemp("played") / "run"
    data = {"source": "arithmetic", "limit": 2, "held_out": 1, "max_response_tokens": 4}
    run(a_config(tiny_folder, output, data=data, iterations=1, training={"max_steps": 1}, stop={"enabled": False}))
    return output


@pytest.fixture
def sparring(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[object, str]]:
    """`sparring(*arguments)` gives a command; how it ended, and what it printed."""

    def give(*arguments: object) -> tuple[object, str]:
        monkeypatch.setattr("sparring.cli.app.app", COMMAND)
        monkeypatch.setattr(sys, "argv", ["sparring", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return ended.value.code, told.out + told.err

    return give
