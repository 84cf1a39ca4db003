"""Settings as plain nested values: their dotted keys, and a regularizer in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def remove(values: Any, key: str) -> None:
    """Removes the setting of a dotted key, such as `phases.0.judge.model`, from nested mappings and lists."""
    *path, last = key.split(".")
    for part in path:
        if isinstance(values, list):
            values = values[int(part)] if part.isdecimal() and int(part) < len(values) else None
        else:
            values = values.get(part) if isinstance(values, dict) else None
    if isinstance(values, dict):
        values.pop(last, None)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as a flat one with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def penalty(name: str, options: Mapping[str, Any]) -> str:
    """A regularizer in words, "0.5 × reverse-kl"; the user's own may have no weight, or a default for it."""
    return f"{options['weight']:g} × {name}" if "weight" in options else name
