"""Settings as plain nested values, by dotted keys and in words."""

from __future__ import annotations

from collections.abc import Mapping
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


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as one of dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def penalty(name: str, options: Mapping[str, Any]) -> str:
    """A regularizer in words, "0.5 × reverse-kl"; one of the user's own may have no weight, or one by default."""
    return f"{options['weight']:g} × {name}" if "weight" in options else name
