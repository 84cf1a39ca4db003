"""The rows of a data file that is not a run's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sparring.data import sources
from sparring.errors import InputError


def read_rows(path: Path) -> Iterator[sources.Row]:
    """The rows of a data file.

    Raises:
        InputError: The file, or a row of it, cannot be read.
    """
    for row in sources.read(str(path), split="train", subset=None):
        if isinstance(row, InputError):
            raise row
        yield row
