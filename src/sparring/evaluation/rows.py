"""The rows of a data file that is not a run's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from sparring.data import sources
from sparring.data.text_files import Row
from sparring.errors import InputError
from sparring.inputs import is_text


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a data file.

    Raises:
        InputError: The file, or a row of it, cannot be read.
    """
    for row in sources.read(str(path), split="train", subset=None):
        if isinstance(row, InputError):
            raise row
        if not is_text(_all_text(row)):
            problem, fix = "holds half a character", "remove it: it is no character"
            raise InputError(problem, where=row.where, fix=fix)
        yield row


def _all_text(row: Row) -> str:
    try:
        return json.dumps(row.values, ensure_ascii=False, default=str)
    except (ValueError, RecursionError, TypeError) as error:
        raise InputError(f"cannot be read: {error}", where=row.where, fix="write texts, numbers and lists") from error
