"""Settings as plain nested values, by dotted keys."""

from __future__ import annotations

from typing import Any


def remove(values: Any, key: str) -> None:
    """Takes the setting of a dotted key out of nested mappings and lists, if it is there: `phases.0.judge.model`."""
    *path, last = key.split(".")
    for part in path:
        if isinstance(values, list):
            values = values[int(part)] if part.isdecimal() and int(part) < len(values) else None
        else:
            values = values.get(part) if isinstance(values, dict) else None
    if isinstance(values, dict):
        values.pop(last, None)
