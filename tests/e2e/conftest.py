"""The command line as a person runs it: in a process of its own, that can be killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.command import Cli, command_line, write_tiny_config


@pytest.fixture(scope="session")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """Runs `sparring ARGUMENTS` in a new process; see `command_line`."""
    return command_line(tmp_path_factory.mktemp("output"))


@pytest.fixture
def tiny_config(tiny_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a configuration that plays two iterations on the tiny model in seconds, with top-level changes."""

    def write(**changes: object) -> Path:
        return write_tiny_config(tmp_path / "config.yaml", tiny_folder, **changes)

    return write
